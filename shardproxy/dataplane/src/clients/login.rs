//! Who a client is.

use std::sync::Arc;
use std::time::Instant;

use super::{Client, Heard};
use crate::access::User;
use crate::metrics::CloseReason;
use crate::model::DEFAULT_USER;

#[derive(Clone, Default)]
pub struct Login {
    /// None: it has not said, and has to.
    pub user: Option<Arc<User>>,
    /// It has said who it is; else it is whoever is served without.
    pub is_said: bool,
    /// By the rights of this number.
    pub rights: u32,
    /// When it is to have said so again.
    pub ends: Option<Instant>,
}

impl Login {
    /// As engines call it: who has not said who it is, is default.
    pub fn name(&self) -> &str {
        self.user.as_deref().map_or(DEFAULT_USER, |user| &user.name)
    }

    fn is_restricted(&self) -> bool {
        self.user.as_deref().is_none_or(|user| !user.is_unrestricted())
    }
}

impl Client {
    /// Who it is from now on. Where rights have changed, and its user with them, so may have what it may hear.
    pub fn log_in(&mut self, login: Login) {
        if self.login.rights != login.rights && self.login.user != login.user {
            self.doubt_subscriptions();
        }
        self.login = login;
        self.see_whether_judged();
    }

    /// It was to be closed for who it was: it is somebody else now, or the same for longer.
    pub fn stay(&mut self) {
        let is_over = matches!(self.closing, Some(CloseReason::Rules | CloseReason::SessionOver));
        self.closing = self.closing.filter(|_| !is_over);
        if is_over {
            self.doubt_subscriptions(); // nobody has looked at them since
        }
    }

    fn doubt_subscriptions(&mut self) {
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.doubted = Some(Heard::default());
        }
    }

    /// What that depends on has changed.
    pub fn see_whether_judged(&mut self) {
        let is_in_multi = self.transaction.as_deref().is_some_and(|transaction| transaction.is_open);
        self.is_judged = is_in_multi || self.is_listener() || self.tracking.is_some() || self.login.is_restricted();
    }
}
