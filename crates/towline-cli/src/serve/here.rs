//! Commands on the data directory of a server: they work through it, over a socket in the directory, as its owner.

use towline::runtime::{Runtime, auth::Authenticator, roles::Roles};

use super::{reload::Tokens, settings::Settings};
use crate::{
    context::Context,
    failure::Outcome,
    output,
    owner::{self, OrOwner},
    store_choice::StoreChoice,
};

#[cfg(unix)]
use crate::{
    beside::{Beside, Card},
    embedded::Stay,
};

/// The way in; there is none any more when this is dropped.
#[cfg(unix)]
pub(super) type Open = Beside;
#[cfg(not(unix))]
pub(super) type Open = ();

/// Who comes from the data directory.
pub(super) struct Here {
    /// Another one at each start.
    token: String,
    store: StoreChoice,
    /// Whether it is the store that commands on the directory use. Those that use another have no business here.
    is_theirs: bool,
}

impl Here {
    pub(super) fn new(context: &Context, settings: &Settings) -> Outcome<Self> {
        let theirs = StoreChoice::of_commands(&context.config, &context.data)?;
        let token = towline::env::Ids::system().resume_token();
        Ok(Self {
            token: token.expose().to_owned(),
            is_theirs: cfg!(unix)
                && settings.store.is_kept()
                && theirs.name() == settings.store.name(),
            store: settings.store.clone(),
        })
    }

    /// The authenticator, which knows the owner too.
    pub(super) fn authenticator(&self, others: impl Authenticator) -> Outcome<impl Authenticator> {
        OrOwner::new(&self.token, others)
    }

    /// The roles, with that of the owner. Where others come in under the owner's name, with a token over a network, it is
    /// theirs too, and no more than their role says.
    pub(super) fn roles(&self, roles: Roles, tokens: &Tokens) -> Roles {
        if self.is_theirs && !tokens.contains_key(owner::PRINCIPAL) {
            owner::with_owner(roles)
        } else {
            roles
        }
    }

    /// Lets commands in.
    #[cfg(unix)]
    pub(super) fn open(&self, context: &Context, runtime: &Runtime) -> Option<Open> {
        let card = Card::new(&self.token, Stay::Stays, &self.store);
        let open = || Beside::open(&context.data, runtime, &card);
        self.is_theirs.then(open).flatten()
    }

    #[cfg(not(unix))]
    pub(super) fn open(&self, _: &Context, _: &Runtime) -> Option<Open> {
        None
    }

    /// Says what commands may do that were let in, beside who may do what over a network [ARCP 14-10].
    pub(super) fn tell(context: &Context, tokens: &Tokens) {
        let what = if tokens.contains_key(owner::PRINCIPAL) {
            "what its role says; without a token of that name it would be everything"
        } else {
            "everything"
        };
        output::note(&format!(
            "  whoever runs commands on `{}` ({}): {what}",
            context.data.path().display(),
            owner::PRINCIPAL
        ));
    }
}
