//! `[models.NAME]`: model services that agents' programs get, with the operator's key and what they cost.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use towline::{
    agents::{Model, Price, Style},
    wire::Amount,
};

use super::{Config, file::File};
use crate::{failure::Outcome, nearest::nearest};

/// `[models.NAME]`
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct ModelSection {
    style: String,
    base_url: String,
    key_file: PathBuf,
    #[serde(default)]
    prices: Option<Prices>,
}

/// A table, or the file that holds it.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Prices {
    File(PathBuf),
    Table(BTreeMap<String, PriceSection>),
}

/// What a million tokens of the models of a pattern cost.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceSection {
    currency: String,
    input: Number,
    output: Number,
    #[serde(default)]
    cached_input: Option<Number>,
    #[serde(default)]
    cache_write: Option<Number>,
}

/// An amount: best as a text, which keeps its digits.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Whole(i64),
    Fraction(f64),
}

impl ModelSection {
    /// Where its key goes.
    pub(super) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The file with the operator's key, and the one with the prices.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let prices = self.prices.iter().filter_map(|prices| match prices {
            Prices::File(path) => Some(path),
            Prices::Table(_) => None,
        });
        std::iter::once(&self.key_file).chain(prices)
    }

    pub(super) fn validate(&self, name: &str, file: &File) -> Outcome<()> {
        let style = Some(self.style.clone());
        file.checked(&format!("models.{name}.style"), &style, style_of)
    }

    fn model(&self, name: &str, config: &Config) -> Outcome<Model> {
        let key = |key: &str| format!("models.{name}.{key}");
        let wrong = |at: &str, why: &dyn std::fmt::Display| {
            config.wrong(&key(at), &format!("cannot be used: {why}"))
        };
        let style = style_of(&self.style).map_err(|why| wrong("style", &why))?;
        let secret = config.secret(&key("key_file"), &self.key_file)?;
        let mut model =
            Model::new(style, &self.base_url, secret).map_err(|error| wrong("base_url", &error))?;
        let read;
        let prices = match &self.prices {
            None => return Ok(model),
            Some(Prices::Table(prices)) => prices,
            Some(Prices::File(path)) => {
                let path = config.path(path);
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|error| {
                    let why = format!("`{}`: {error}", path.display());
                    wrong("prices", &why)
                })?;
                read = toml::from_str::<BTreeMap<String, PriceSection>>(&text);
                read.as_ref().map_err(|error| {
                    let why = format!("`{}`: {}", path.display(), error.message());
                    wrong("prices", &why)
                })?
            }
        };
        for (pattern, section) in prices {
            let at = format!("prices.\"{pattern}\"");
            let price = section.price().map_err(|why| wrong(&at, &why))?;
            let priced = model.price(pattern, price);
            model = priced.map_err(|error| wrong(&at, &error))?;
        }
        Ok(model)
    }
}

impl PriceSection {
    fn price(&self) -> Result<Price, String> {
        let price = Price::new(&self.currency, self.input.amount()?, self.output.amount()?);
        let price = match &self.cached_input {
            Some(amount) => price.cached_input(amount.amount()?),
            None => price,
        };
        Ok(match &self.cache_write {
            Some(amount) => price.cache_write(amount.amount()?),
            None => price,
        })
    }
}

impl Number {
    fn amount(&self) -> Result<Amount, String> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::Whole(number) => number.to_string(),
            Self::Fraction(number) => number.to_string(),
        };
        text.parse()
            .map_err(|_| format!("`{text}` is no amount; write \"2.50\""))
    }
}

impl Config {
    /// The model service that an agent names.
    pub(super) fn model(&self, key: &str, named: &str) -> Outcome<Model> {
        if let Some(section) = self.models.get(named) {
            return section.model(named, self);
        }
        let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
        let remedy = match nearest(named, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => "there is none: add a [models.NAME]".to_owned(),
            None => format!("there are {}", known.join(", ")),
        };
        Err(self.wrong(key, &format!("names the model `{named}`; {remedy}")))
    }
}

fn style_of(text: &str) -> Result<Style, String> {
    Style::parse(text).ok_or_else(|| {
        format!(
            "`{text}` is not a style; write openai or anthropic, by whose interface the service has"
        )
    })
}
