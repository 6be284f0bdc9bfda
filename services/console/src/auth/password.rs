//! Passwords: only their argon2id hashes are known (RFC 9106), and checking one costs what it must.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use kit::config::{Role, Secret, UserConfig};
use tokio::sync::Semaphore;

/// Checks that run at once; each takes the memory that its hash asks for.
const AT_ONCE: usize = 2;
/// Checks that may wait for their turn.
const WAITING: usize = 16;
pub(super) const BUSY_PAUSE: Duration = Duration::from_secs(2);
/// Longer ones are not looked at: nobody types them.
const MAX_PASSWORD_BYTES: usize = 1024;

/// The line for `console.users[].password`, with the parameters that OWASP recommends.
pub fn hash_password(password: &str) -> Result<String, String> {
    if password.is_empty() || password.len() > MAX_PASSWORD_BYTES {
        return Err(format!("a password has 1 to {MAX_PASSWORD_BYTES} bytes"));
    }
    let hash: Result<PasswordHash, _> = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| format!("the password can't be hashed: {error}"))
}

#[derive(Debug)]
pub(super) struct Passwords {
    users: Vec<User>,
    turn: Semaphore,
    queue: Semaphore,
}

#[derive(Debug)]
struct User {
    name: String,
    role: Role,
    hash: Arc<Secret>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right(Role),
    Wrong,
    /// Too many wait; nothing was looked at.
    Busy,
}

impl Passwords {
    pub(super) fn new(users: &[UserConfig]) -> Passwords {
        let user = |user: &UserConfig| User {
            name: user.name.value.clone(),
            role: *user.role,
            hash: Arc::new(user.password.value.clone()),
        };
        Passwords {
            users: users.iter().map(user).collect(),
            turn: Semaphore::new(AT_ONCE),
            queue: Semaphore::new(AT_ONCE + WAITING),
        }
    }

    pub(super) fn users(&self) -> Vec<(String, Role)> {
        let user = |user: &User| (user.name.clone(), user.role);
        self.users.iter().map(user).collect()
    }

    pub(super) async fn verify(&self, name: &str, password: &str) -> Verdict {
        let Ok(_queued) = self.queue.try_acquire() else {
            return Verdict::Busy;
        };
        let Ok(_turn) = self.turn.acquire().await else {
            return Verdict::Busy;
        };
        let user = self.users.iter().find(|user| user.name == name);
        // Somebody's hash stands in for that of a name that nobody has: the same work.
        let Some(checked) = user.or(self.users.first()) else {
            return Verdict::Wrong;
        };
        let (hash, password) = (Arc::clone(&checked.hash), password.to_owned());
        let fits = tokio::task::spawn_blocking(move || is_right(hash.expose(), &password)).await;
        match user {
            Some(user) if fits.unwrap_or(false) => Verdict::Right(user.role),
            _ => Verdict::Wrong,
        }
    }
}

fn is_right(hash: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    let fits = password.len() <= MAX_PASSWORD_BYTES;
    fits && Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_one_password() {
        let hash = hash_password("open sesame").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$"), "{hash}");
        assert!(is_right(&hash, "open sesame"));
        for wrong in ["", "open sesam", "Open sesame", "open sesame "] {
            assert!(!is_right(&hash, wrong), "{wrong:?}");
        }
        assert_ne!(hash, hash_password("open sesame").unwrap());
    }

    #[test]
    fn what_is_no_password() {
        assert!(hash_password("").is_err());
        assert!(hash_password(&"x".repeat(MAX_PASSWORD_BYTES + 1)).is_err());
    }
}
