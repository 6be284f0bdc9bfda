//! `console`: the web pages of this node, and who may see and do what on them.

use std::net::SocketAddr;
use std::time::Duration;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use schemars::JsonSchema;
use serde::Deserialize;

use super::scalar::{Placed, Scalar};
use super::schema::Shape;
use super::sections::loopback;
use super::value::Secret;
use super::{ConfigError, HubConfig};

/// What one sign-in may cost: the memory of the hash in KiB, and how often it is passed over.
const MOST_MEMORY: u32 = 1 << 20;
const MOST_PASSES: u32 = 64;

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsoleConfig {
    pub listen: Placed<SocketAddr>,
    /// Serve HTTPS with the certificate of the section `tls`; browsers need show none.
    pub tls: Placed<bool>,
    /// Without any, everybody on this machine may look and nobody may change anything.
    pub users: Vec<UserConfig>,
    /// A session ends when nothing was asked for this long.
    pub session_idle: Placed<Duration>,
    /// A session ends this long after the sign-in.
    pub session_limit: Placed<Duration>,
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    pub name: Placed<String>,
    pub role: Placed<Role>,
    /// An argon2id hash as `updraft passwd` prints it.
    pub password: Placed<Secret>,
}

/// What a user may do; each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Viewer,
    /// Also give orders.
    Operator,
    /// Also see the settings and who is signed in.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Scalar for Role {
    const EXPECTED: &'static str = "viewer, operator or admin";
    const SHAPE: Shape = Shape::Words(&["viewer", "operator", "admin"]);

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == text)
    }
}

impl Default for ConsoleConfig {
    fn default() -> Self {
        Self {
            listen: loopback(8080),
            tls: Placed::unplaced(false),
            users: Vec::new(),
            session_idle: Placed::unplaced(Duration::from_secs(60 * 60)),
            session_limit: Placed::unplaced(Duration::from_secs(12 * 60 * 60)),
        }
    }
}

pub(super) fn check(config: &HubConfig) -> Result<(), ConfigError> {
    let Some(console) = &config.console else {
        return Ok(());
    };
    if *console.tls && config.tls.is_none() {
        let message = "console.tls: needs the section \"tls\"";
        return Err(config.error(console.tls.place, message));
    }
    for (index, user) in console.users.iter().enumerate() {
        check_user(config, &console.users[..index], user)?;
    }
    Ok(())
}

/// No message shows what stands in the place of a hash: it may be a password.
fn check_user(
    config: &HubConfig,
    earlier: &[UserConfig],
    user: &UserConfig,
) -> Result<(), ConfigError> {
    let name = &user.name;
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if !printable || name.len() > 64 {
        let message = "console.users: a name has up to 64 characters and no blanks";
        return Err(config.error(name.place, message));
    }
    if earlier.iter().any(|other| *other.name == **name) {
        let message = format!("console.users: {:?} is given twice", **name);
        return Err(config.error(name.place, message));
    }
    check_hash(user.password.expose()).map_err(|why| {
        let message = format!(
            "console.users: the password of {:?} {why}; make one with: updraft passwd",
            **name
        );
        config.error(user.password.place, message)
    })
}

fn check_hash(text: &str) -> Result<(), &'static str> {
    let hash = PasswordHash::new(text).map_err(|_| "is no argon2id hash")?;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err("is no argon2id hash");
    }
    let params = Params::try_from(&hash).map_err(|_| "is an argon2id hash with odd parameters")?;
    if params.m_cost() > MOST_MEMORY || params.t_cost() > MOST_PASSES {
        return Err("is a hash that costs more than 1 GiB or 64 passes per sign-in");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::from_str_with;
    use super::*;

    /// Of the password `x`, with the least that argon2 takes.
    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$0TnrJ0g0TnrJ0g0TnrJ0gw";

    fn parse(console: &str) -> Result<HubConfig, ConfigError> {
        let text = format!("hub: {{ path: acme }}\ndata_dir: data\n{console}\n");
        from_str_with("hub.yaml", &text, |_| None)
    }

    fn user(name: &str, password: &str) -> String {
        format!("{{ name: {name}, role: operator, password: \"{password}\" }}")
    }

    #[test]
    fn every_key() {
        let alone = parse("console:").unwrap().console.unwrap();
        assert_eq!(alone.listen.to_string(), "127.0.0.1:8080");
        assert!(alone.users.is_empty() && !*alone.tls);
        let text = format!(
            "console:\n  listen: 127.0.0.1:9\n  session_idle: 5min\n  session_limit: 1h\n  users: \
             [{}]",
            user("anna", HASH)
        );
        let console = parse(&text).unwrap().console.unwrap();
        assert_eq!(*console.session_idle, Duration::from_secs(300));
        assert_eq!(*console.users[0].role, Role::Operator);
        assert_eq!(console.users[0].password.expose(), HASH);
        assert!(!format!("{console:?}").contains("argon2"));
    }

    #[test]
    fn mistakes_are_told_by_line_without_the_password() {
        let with = |users: &str| format!("console:\n  users:\n    - {users}");
        let costly = HASH.replace("m=8", "m=4000000");
        let table = [
            (
                with(&user("anna", "hunter2")),
                "hub.yaml:5:47: console.users: the password of \"anna\" is no argon2id hash; make \
                 one with: updraft passwd",
            ),
            (
                with(&user("anna", &HASH.replace("argon2id", "argon2i"))),
                "hub.yaml:5:47: console.users: the password of \"anna\" is no argon2id hash",
            ),
            (
                with(&user("anna", "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ")),
                "hub.yaml:5:47: console.users: the password of \"anna\" is no argon2id hash",
            ),
            (
                with(&user("anna", &costly)),
                "hub.yaml:5:47: console.users: the password of \"anna\" is a hash that costs more",
            ),
            (
                with(&user("\"an na\"", HASH)),
                "hub.yaml:5:15: console.users: a name has up to 64 characters and no blanks",
            ),
            (
                with(&format!(
                    "{}\n    - {}",
                    user("anna", HASH),
                    user("anna", HASH)
                )),
                "hub.yaml:6:15: console.users: \"anna\" is given twice",
            ),
            (
                with("{ name: anna, role: boss, password: x }"),
                "hub.yaml:5:27: console.users[0].role: expected viewer, operator or admin",
            ),
            (
                "console: { tls: true }".to_owned(),
                "hub.yaml:3:17: console.tls: needs the section \"tls\"",
            ),
        ];
        for (text, expected) in table {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\n{expected}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn off_loopback_needs_tls_and_users() {
        let listen = "console:\n  listen: 0.0.0.0:8080\n";
        let users = format!("  users: [{}]\n", user("anna", HASH));
        for (text, expected) in [
            (listen.to_owned(), "lets everybody look, in clear text"),
            (format!("{listen}{users}"), "takes passwords in clear text"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            let config = parse(&format!("{text}insecure: true")).unwrap();
            assert!(config.warnings()[0].contains(expected));
        }
        let tls = "tls: { ca: a, cert: b, key: c }\n";
        assert!(parse(&format!("{tls}{listen}  tls: true\n{users}")).is_ok());
        let error = parse(&format!("{tls}{listen}  tls: true\n")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("lets everybody look; add console.users")
        );
    }
}
