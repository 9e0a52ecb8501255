//! Who a client says it is: AUTH, and AUTH within HELLO. What the proxy can judge is judged here; the password of a user that
//! somebody else vouches for is handed to the control plane.
//!
//! ```text
//!   AUTH name password ─┬─ the user's own ──────────────────────────────> the client is that user
//!                       ├─ no such user, disabled, another password ────> -WRONGPASS
//!                       └─ a user that is verified ─> trio ─> +OK ──────> the same, for so long; and the rest of HELLO
//!                                                        └──> an error
//! ```

use std::sync::Arc;

use super::follow;
use super::local::greet;
use super::offload::hand_over;
use super::Next;
use crate::access::User;
use crate::admit;
use crate::clients::{Client, Foretold, Login};
use crate::command::Command;
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::model::DEFAULT_USER;
use crate::shared::{Access, Rights};
use crate::turn::{Effect, Greeting, Turn};

const NO_PASSWORD: &str =
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";

/// What comes of a name and a password.
enum Claim {
    Right(Arc<User>),
    /// The control plane is to be asked.
    Unproven,
    /// For this reason, which only logs tell.
    Wrong(&'static str),
}

fn claim(rights: &Rights, name: &[u8], password: &[u8]) -> Claim {
    match rights.find(name) {
        None => Claim::Wrong("unknown"),
        Some(user) if !user.is_enabled => Claim::Wrong("disabled"),
        Some(user) if user.is_verified => Claim::Unproven,
        Some(user) if user.takes(password) => Claim::Right(user.clone()),
        Some(_) => Claim::Wrong("password"),
    }
}

/// The name and the password that AUTH gives, or what is wrong with it.
fn named<'a>(rights: &Rights, request: &Request<'a>) -> Result<(&'a [u8], &'a [u8]), Vec<u8>> {
    match request.len() {
        2 if rights.find(DEFAULT_USER.as_bytes()).is_some_and(|user| user.is_nopass) => Err(admit::error(NO_PASSWORD)),
        2 => Ok((DEFAULT_USER.as_bytes(), request.argument(1))),
        3 => Ok((request.argument(1), request.argument(2))),
        _ => Err(texts::SYNTAX.to_vec()),
    }
}

/// What a client is told that says who it is, if that is known now.
pub enum Said {
    Answer(Vec<u8>),
    Later(Next),
}

pub fn auth(turn: &mut Turn, client: &mut Client, command: &Command, request: &Request) -> Said {
    let Some(served) = turn.served(client.cluster) else { return Said::Later(Next::Close) };
    match named(&served.rights, request) {
        Ok((name, password)) => log_in(turn, client, command, (name, password), None),
        Err(text) => Said::Answer(text),
    }
}

/// `greeting`: what HELLO asks for, who gives the name and the password.
pub fn log_in(
    turn: &mut Turn,
    client: &mut Client,
    command: &Command,
    (name, password): (&[u8], &[u8]),
    greeting: Option<Greeting>,
) -> Said {
    let Some(served) = turn.served(client.cluster) else { return Said::Later(Next::Close) };
    match claim(&served.rights, name, password) {
        Claim::Right(user) => {
            accept(turn, client, user);
            Said::Answer(greeting.map_or_else(|| texts::OK.to_vec(), |greeting| greet(turn, client, greeting)))
        }
        Claim::Wrong(why) => Said::Answer(refuse(turn, client, name, why)),
        Claim::Unproven => {
            let mut bytes = Vec::new();
            write::command(&mut bytes, &[b"AUTH", name, password]);
            let parser = admit::framed(&bytes);
            let request = Request { bytes: &bytes, spans: parser.spans() };
            let effect = Effect::LogIn(Box::new((name.into(), greeting)));
            Said::Later(hand_over(turn, client, Some(command), &request, effect))
        }
    }
}

/// Whether that is the user's password: then the client is that user. Who is verified elsewhere cannot come in this way.
pub fn is_right(turn: &mut Turn, client: &mut Client, name: &[u8], password: &[u8]) -> bool {
    let Some(served) = turn.served(client.cluster) else { return false };
    match claim(&served.rights, name, password) {
        Claim::Right(user) => {
            accept(turn, client, user);
            return true;
        }
        Claim::Unproven => refuse(turn, client, name, "verifier"),
        Claim::Wrong(why) => refuse(turn, client, name, why),
    };
    false
}

/// The control plane's verdict on what a client that is to be verified gave; what the client is told.
pub fn verdict(turn: &mut Turn, client: &mut Client, name: &[u8], greeting: Option<Greeting>, reply: &[u8]) -> Vec<u8> {
    if reply != texts::OK {
        refuse(turn, client, name, "verifier");
        return reply.to_vec();
    }
    let user = turn.served(client.cluster).and_then(|served| served.rights.find(name));
    match user.filter(|user| user.is_enabled && user.is_verified).cloned() {
        Some(user) => {
            accept(turn, client, user);
            client.stay();
            follow::listen(turn, client, usize::MAX); // whoever looks at all may have passed it by
            greeting.map_or_else(|| texts::OK.to_vec(), |greeting| greet(turn, client, greeting))
        }
        None => refuse(turn, client, name, "unknown"), // by now
    }
}

/// The client is the user that its certificate names, if there is one; else it may log in as others do. Who is verified
/// elsewhere cannot come in this way.
pub fn by_certificate(turn: &mut Turn, client: &mut Client) {
    let Some(name) = client.certificate_name.take() else { return };
    let found = turn.served(client.cluster).and_then(|served| served.rights.find(&name));
    let why_not = match found.filter(|user| user.is_enabled).cloned() {
        Some(user) if user.is_verified => Some("verifier"),
        Some(user) => {
            accept(turn, client, user);
            None
        }
        None => Some("certificate"),
    };
    if let Some(why) = why_not.filter(|_| client.login.user.is_none()) {
        let _ = refuse(turn, client, &name, why); // it is told when it asks for something
    }
    client.certificate_name = Some(name);
}

/// The client is that user from now on.
pub fn accept(turn: &mut Turn, client: &mut Client, user: Arc<User>) {
    let Some(served) = turn.served(client.cluster) else { return };
    client.log_in(served.rights.login(user, turn.now));
    turn.tell_access(client, Access::Login, "", b"");
}

/// It is not: what it is told.
pub fn refuse(turn: &mut Turn, client: &Client, name: &[u8], why: &'static str) -> Vec<u8> {
    let name = String::from_utf8_lossy(&name[..name.len().min(MAX_NAME)]).into_owned();
    turn.tell_access_as(client, Access::LoginRefused, name, why, b"AUTH");
    texts::WRONGPASS.to_vec()
}

/// A name is told up to here.
const MAX_NAME: usize = 256;

/// Why AUTH is not queued within MULTI: nobody can be asked between the commands of a transaction.
pub fn why_not_queued(turn: &Turn, client: &Client, request: &Request) -> Option<Vec<u8>> {
    let rights = &turn.served(client.cluster)?.rights;
    let (name, _) = named(rights, request).ok()?;
    let is_verified = rights.find(name).is_some_and(|user| user.is_enabled && user.is_verified);
    is_verified.then(|| texts::NOT_VERIFIED_IN_MULTI.to_vec())
}

/// What a queued AUTH comes to when its transaction is executed.
pub fn foretell(turn: &mut Turn, client: &Client, request: &Request) -> Foretold {
    let Some(served) = turn.served(client.cluster) else {
        return Foretold { answer: texts::WRONGPASS.to_vec(), user: None };
    };
    let said = named(&served.rights, request).map(|(name, password)| (name, claim(&served.rights, name, password)));
    match said {
        Err(answer) => Foretold { answer, user: None },
        Ok((name, Claim::Right(_))) => Foretold { answer: texts::OK.to_vec(), user: Some(name.into()) },
        Ok((name, Claim::Wrong(why))) => Foretold { answer: refuse(turn, client, name, why), user: None },
        Ok((name, Claim::Unproven)) => Foretold { answer: refuse(turn, client, name, "verifier"), user: None },
    }
}

/// It is whoever a new connection is, before it has shown a certificate.
pub fn log_out(turn: &Turn, client: &mut Client) {
    let Some(served) = turn.served(client.cluster) else { return };
    client.log_in(Login { user: served.rights.anybody().cloned(), rights: served.rights.number, ..Login::default() });
}
