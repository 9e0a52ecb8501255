//! What a new connection says to a node.

use crate::model::NodeAuth;

/// The command a node wants to hear first.
fn command(auth: &NodeAuth) -> Option<Vec<u8>> {
    let password = auth.password.as_deref()?;
    let value = format!("{} {password}", auth.username.as_deref().unwrap_or_default());
    Some(format!("set auth 0 0 {}\r\n{value}\r\n", value.len()).into_bytes())
}

/// What a new connection says before requests may leave, and how many replies that brings. Its `version` is also the
/// probe of a node that was down.
pub fn greeting(auth: &NodeAuth) -> (Vec<u8>, u8) {
    let login = command(auth);
    let replies = if login.is_some() { 2 } else { 1 };
    let mut bytes = login.unwrap_or_default();
    bytes.extend_from_slice(b"version\r\n");
    (bytes, replies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_password_says_it_first() {
        let auth = NodeAuth { username: Some("me".into()), password: Some("secret".into()), renew: None };
        assert_eq!(greeting(&auth), (b"set auth 0 0 9\r\nme secret\r\nversion\r\n".to_vec(), 2));
        assert_eq!(greeting(&NodeAuth::default()), (b"version\r\n".to_vec(), 1));
    }
}
