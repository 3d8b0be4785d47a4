//! `towline trust`

use towline::wire::Shown;

use crate::{
    args::GlobalArgs,
    config::Config,
    exit,
    failure::{Failure, Outcome},
    output,
    trust::Trust,
};

pub(super) fn run(global: &GlobalArgs, remove: bool) -> Outcome {
    if let Some(file) = &global.config {
        let message = format!("`{}` was named, and that is trust enough", file.display());
        return Err(Failure::usage(message)
            .help("leave out --config, and TOWLINE_CONFIG, to trust the towline.toml here"));
    }
    let config = Config::load(None)?;
    let Some(found) = config.found() else {
        return Err(Failure::usage("there is no towline.toml in this directory")
            .help("change to the directory whose towline.toml is meant"));
    };
    let trust = Trust::of_user()?;
    let file = found.path().display();
    if remove {
        let was = trust.withdraw(found)?;
        let text = if was {
            "is trusted no more"
        } else {
            "was not trusted"
        };
        output::note(&format!("{} {text}", Shown::new(file)));
        return Ok(exit::SUCCESS);
    }
    trust.grant(found)?;
    let mut lines = vec![format!("{} is trusted as it stands", Shown::new(file))];
    lines.extend(
        config
            .acts()
            .iter()
            .map(|act| format!("  {}", Shown::new(act))),
    );
    output::line(&lines.join("\n"))?;
    Ok(exit::SUCCESS)
}
