//! Who a server lets in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use sha2::{Digest as _, Sha256};
use towline::runtime::auth::{self, Anonymous, Authenticator, Chain, JwtVerifier, StaticTokens};

use crate::{
    args::ServeArgs,
    config::{self, Config, JwtSection},
    data_dir::{DataDir, make_data_dir, write_private},
    failure::{Failure, Outcome},
    guard, output,
    owner::ButOwner,
    values::PrincipalToken,
};

/// The principal of a minted token, and of everybody where no token is asked for.
const DEFAULT_PRINCIPAL: &str = "default";

/// Tokens as `--token` takes them, with commas between them.
const TOKENS_VARIABLE: &str = "TOWLINE_TOKENS";

/// Who is let in, and the token to print when it was minted for this run.
pub(super) struct Admission {
    pub(super) authenticator: Box<dyn Authenticator>,
    pub(super) minted: Option<String>,
    /// Whose tokens there are, each by a hash.
    pub(super) tokens: BTreeMap<String, BTreeSet<String>>,
}

/// Where a minted token comes from.
#[derive(Clone, Copy)]
pub(super) enum Minting<'m> {
    /// From this directory, where it stays.
    KeptIn(&'m DataDir),
    /// From nowhere; it is another one at each start.
    New,
    /// It is the one that was minted at the start, if one was.
    As(Option<&'m str>),
}

/// What the command line and the file say; with neither, a minted token where one can be printed. It is the same at the next
/// start, for sessions that are to be resumed, when there is a directory to keep it in.
pub(super) fn admission(
    args: &ServeArgs,
    config: &Config,
    minting: Minting<'_>,
) -> Outcome<Admission> {
    let mut tokens = given(args, config)?;
    let section = config.auth.jwt.as_ref();
    let jwt = section
        .map(|section| verifier(config, section))
        .transpose()?;
    if args.dangerously_allow_anonymous {
        let anonymous = Anonymous::dangerously_allow_anonymous(DEFAULT_PRINCIPAL);
        return Ok(Admission {
            authenticator: Box::new(anonymous),
            minted: None,
            tokens: BTreeMap::new(),
        });
    }
    warn_of_one_name(section, &tokens);
    let mut minted = None;
    if tokens.is_empty() && jwt.is_none() {
        if args.stdio {
            return Err(Failure::usage("--stdio needs a token: there is no place to print a minted one")
                .help("give --token PRINCIPAL:TOKEN, or TOWLINE_TOKENS, or [[auth.tokens]] in towline.toml"));
        }
        let token = match minting {
            Minting::KeptIn(data) => kept(data)?,
            Minting::New => mint(),
            Minting::As(Some(before)) => before.to_owned(),
            Minting::As(None) => {
                return Err(
                    Failure::usage("there is no token any more, so nobody could come in")
                        .help("leave one, or start the server anew to have one minted"),
                );
            }
        };
        minted = Some(token.clone());
        tokens.push(PrincipalToken {
            principal: DEFAULT_PRINCIPAL.to_owned(),
            token,
        });
    }
    let mut hashes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for pair in &tokens {
        let of = hashes.entry(pair.principal.clone()).or_default();
        of.insert(hex::encode(Sha256::digest(&pair.token)));
    }
    let fixed = StaticTokens::new(tokens.iter().map(|pair| (&pair.principal, &pair.token)))
        .map_err(Failure::usage)?;
    let authenticator: Box<dyn Authenticator> = match jwt {
        Some(jwt) => Box::new(Chain::new().or(fixed).or(ButOwner(jwt))),
        None => Box::new(fixed),
    };
    Ok(Admission {
        authenticator,
        minted,
        tokens: hashes,
    })
}

/// The tokens of the flags; else those of the environment; else those of the file. No message repeats one.
fn given(args: &ServeArgs, config: &Config) -> Outcome<Vec<PrincipalToken>> {
    let read = |from: &str, text: &str| {
        text.parse()
            .map_err(|error| Failure::usage(format!("{from}: {error}")))
    };
    if !args.token.is_empty() || !args.token_file.is_empty() {
        if !args.token.is_empty() {
            tracing::warn!(
                "a token on the command line shows in the list of processes; --token-file PRINCIPAL:PATH does not"
            );
        }
        let given = args.token.iter();
        let given = given.map(|secret| read("--token", secret.expose()));
        let in_files = args.token_file.iter().map(|text| of_file(text));
        return given.chain(in_files).collect();
    }
    match std::env::var(TOKENS_VARIABLE) {
        Ok(text) if !text.is_empty() => text
            .split(',')
            .map(|text| read(TOKENS_VARIABLE, text))
            .collect(),
        _ => config.tokens(),
    }
}

/// `PRINCIPAL:PATH`, split at the first colon.
fn of_file(text: &str) -> Outcome<PrincipalToken> {
    let pair = text.split_once(':');
    let pair = pair.filter(|(principal, path)| !principal.is_empty() && !path.is_empty());
    let (principal, path) = pair.ok_or_else(|| {
        Failure::usage(format!(
            "--token-file `{text}` has to be PRINCIPAL:PATH, as in alice:secrets/alice.token"
        ))
    })?;
    guard::given_secret(std::path::Path::new(path))?;
    let token = config::first_line(std::path::Path::new(path)).map_err(|error| {
        Failure::usage(format!("the token file `{path}` cannot be used: {error}"))
    })?;
    Ok(PrincipalToken {
        principal: principal.to_owned(),
        token,
    })
}

/// The files that `--token-file` names.
pub(super) fn token_files(args: &ServeArgs) -> Vec<PathBuf> {
    let pairs = args
        .token_file
        .iter()
        .filter_map(|text| text.split_once(':'));
    pairs.map(|(_, path)| path.into()).collect()
}

/// Refuses to let everybody in from everywhere, unless that is really wanted [ARCP 6.1-4].
pub(super) fn check_bind(
    args: &ServeArgs,
    authenticator: &dyn Authenticator,
    address: SocketAddr,
) -> Outcome<()> {
    auth::check_bind(
        authenticator,
        address,
        args.dangerously_allow_anonymous_from_anywhere,
    )
    .map_err(|error| {
        Failure::usage(error).help("to force it, add --dangerously-allow-anonymous-from-anywhere")
    })
}

fn verifier(config: &Config, section: &JwtSection) -> Outcome<JwtVerifier> {
    let wrong = |key: &str, error: &dyn std::fmt::Display| {
        config.wrong(key, &format!("cannot be used: {error}"))
    };
    let verifier = if let Some(file) = &section.secret_file {
        let secret = config.secret("auth.jwt.secret_file", file)?;
        JwtVerifier::hs256(secret.as_bytes()).map_err(|error| wrong("auth.jwt.secret_file", &error))
    } else if let Some(file) = &section.public_key_file {
        guard::given_proof(&config.path(file))?;
        let pem = std::fs::read_to_string(config.path(file));
        let pem = pem.map_err(|error| wrong("auth.jwt.public_key_file", &error))?;
        JwtVerifier::public_key_pem(&pem).map_err(|error| wrong("auth.jwt.public_key_file", &error))
    } else if let Some(file) = &section.jwks_file {
        guard::given_proof(&config.path(file))?;
        JwtVerifier::jwks_file(config.path(file))
            .map_err(|error| wrong("auth.jwt.jwks_file", &error))
    } else {
        let url = section.jwks_url.as_deref().unwrap_or_default();
        JwtVerifier::jwks_url(url).map_err(|error| wrong("auth.jwt.jwks_url", &error))
    };
    let mut verifier = verifier?;
    if let Some(issuer) = &section.issuer {
        verifier = verifier.issuer(issuer);
    }
    if let Some(audience) = &section.audience {
        verifier = verifier.audience(audience);
    }
    if let Some(claim) = &section.principal_claim {
        verifier = verifier.principal_claim(claim);
    }
    if let Some(claim) = &section.role_claim {
        verifier = verifier.role_claim(claim);
    }
    if let Some(prefix) = &section.principal_prefix {
        verifier = verifier.principal_prefix(prefix);
    }
    Ok(verifier)
}

/// Says that a JWT may prove the principal of a token, where nothing keeps the two apart.
fn warn_of_one_name(section: Option<&JwtSection>, tokens: &[PrincipalToken]) {
    let is_apart = |section: &JwtSection| {
        let prefix = section.principal_prefix.as_deref();
        prefix.is_some_and(|prefix| !prefix.is_empty())
    };
    if let (Some(section), Some(first)) = (section, tokens.first())
        && !is_apart(section)
    {
        let who = output::clean(&first.principal);
        output::note(&format!(
            "warning: a JWT of `{who}` and the token of `{who}` are one principal, with one role and the same jobs; keep them \
             apart with principal_prefix = \"jwt:\" in [auth.jwt]"
        ));
    }
}

/// The token that an earlier start minted, or one that is minted and kept now.
fn kept(data: &DataDir) -> Outcome<String> {
    let place = data.minted_token();
    make_data_dir(data.path())?;
    guard::secret(&place)?;
    if place.exists() {
        return config::first_line(&place).map_err(|error| {
            Failure::local(format!(
                "the minted token in `{}` cannot be used: {error}",
                place.display()
            ))
            .help("remove the file, and a new one is minted")
        });
    }
    let token = mint();
    write_private(&place, format!("{token}\n").as_bytes()).map_err(|error| {
        Failure::local(format!(
            "the minted token cannot be kept in `{}`: {error}",
            place.display()
        ))
        .help("name another directory with --data-dir, or give --token-file PRINCIPAL:PATH")
    })?;
    Ok(token)
}

/// A token of 256 random bits.
fn mint() -> String {
    let secret = towline::env::Ids::system().resume_token();
    let hex = secret.expose().trim_start_matches("rt_");
    format!("tl_{hex}")
}
