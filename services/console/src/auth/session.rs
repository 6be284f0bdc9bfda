//! Sessions: who is signed in, until when. Pure: time comes in, only tokens are random.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kit::config::Role;

/// Beyond it, the one unused for the longest time ends.
const MOST: usize = 4096;
const TOKEN_BYTES: usize = 32;

/// What a browser holds to show that it is signed in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token([u8; TOKEN_BYTES]);

/// What we know of a token: who reads our memory can't make a cookie of it, and the time of a
/// look-up tells nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(blake3::Hash);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) role: Role,
    /// Where it signed in from.
    pub(super) from: IpAddr,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) account: Account,
    /// What every form of this session holds.
    pub(super) csrf: String,
    number: u64,
    began: Instant,
    used: Instant,
    flash: Option<Result<String, String>>,
}

/// A session as the settings show it.
#[derive(Clone, Debug)]
pub(crate) struct SessionInfo {
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) from: IpAddr,
    pub(crate) age: Duration,
    pub(crate) idle: Duration,
    key: Key,
}

#[derive(Debug)]
pub(super) struct Sessions {
    sessions: HashMap<Key, Session>,
    idle: Duration,
    limit: Duration,
    next_number: u64,
}

impl Token {
    fn random() -> Token {
        Token(rand::random())
    }

    pub(super) fn parse(text: &str) -> Option<Token> {
        let mut bytes = [0; TOKEN_BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Token(bytes))
    }

    pub(super) fn text(&self) -> String {
        hex::encode(self.0)
    }

    pub(super) fn key(&self) -> Key {
        Key(blake3::hash(&self.0))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("[token]")
    }
}

impl Sessions {
    pub(super) fn new(idle: Duration, limit: Duration) -> Sessions {
        Sessions {
            sessions: HashMap::new(),
            idle,
            limit,
            next_number: 1,
        }
    }

    pub(super) fn open(&mut self, now: Instant, account: Account) -> Token {
        self.make_room(now);
        let token = Token::random();
        let session = Session {
            account,
            csrf: Token::random().text(),
            number: self.next_number,
            began: now,
            used: now,
            flash: None,
        };
        self.next_number += 1;
        self.sessions.insert(token.key(), session);
        token
    }

    /// The session, if it has not ended; it goes on for as long as it is used.
    pub(super) fn touch(&mut self, now: Instant, key: &Key) -> Option<Session> {
        let (idle, limit) = (self.idle, self.limit);
        let session = self.sessions.get_mut(key)?;
        if session.has_ended(now, idle, limit) {
            self.sessions.remove(key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.sessions.remove(key);
    }

    /// Whose it was.
    pub(super) fn end(&mut self, number: u64) -> Option<String> {
        let found = self
            .sessions
            .iter()
            .find(|(_, session)| session.number == number);
        let key = found.map(|(key, _)| *key)?;
        self.sessions
            .remove(&key)
            .map(|session| session.account.name)
    }

    pub(super) fn flash(&mut self, key: &Key, outcome: Result<String, String>) {
        if let Some(session) = self.sessions.get_mut(key) {
            session.flash = Some(outcome);
        }
    }

    pub(super) fn take_flash(&mut self, key: &Key) -> Option<Result<String, String>> {
        self.sessions.get_mut(key)?.flash.take()
    }

    /// Those that have not ended, the oldest first.
    pub(super) fn list(&self, now: Instant) -> Vec<SessionInfo> {
        let going = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.has_ended(now, self.idle, self.limit));
        let mut list: Vec<SessionInfo> = going
            .map(|(key, session)| session.info(now, *key))
            .collect();
        list.sort_by_key(|info| info.number);
        list
    }

    fn make_room(&mut self, now: Instant) {
        let (idle, limit) = (self.idle, self.limit);
        self.sessions
            .retain(|_, session| !session.has_ended(now, idle, limit));
        if self.sessions.len() >= MOST {
            let oldest = self.sessions.iter().min_by_key(|(_, session)| session.used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.sessions.remove(&key);
            }
        }
    }
}

impl Session {
    fn has_ended(&self, now: Instant, idle: Duration, limit: Duration) -> bool {
        now.saturating_duration_since(self.used) >= idle
            || now.saturating_duration_since(self.began) >= limit
    }

    fn info(&self, now: Instant, key: Key) -> SessionInfo {
        SessionInfo {
            number: self.number,
            name: self.account.name.clone(),
            role: self.account.role,
            from: self.account.from,
            age: now.saturating_duration_since(self.began),
            idle: now.saturating_duration_since(self.used),
            key,
        }
    }
}

impl SessionInfo {
    pub(super) fn is(&self, key: &Key) -> bool {
        self.key == *key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const LIMIT: Duration = Duration::from_secs(300);

    fn sessions() -> Sessions {
        Sessions::new(IDLE, LIMIT)
    }

    fn anna() -> Account {
        Account {
            name: "anna".into(),
            role: Role::Operator,
            from: [127, 0, 0, 1].into(),
        }
    }

    #[test]
    fn a_token_is_only_its_own() {
        let (mut sessions, now) = (sessions(), Instant::now());
        let token = sessions.open(now, anna());
        let session = sessions.touch(now, &token.key()).unwrap();
        assert_eq!(session.account, anna());
        assert_eq!(Token::parse(&token.text()), Some(token.clone()));
        let mut other = token.text().into_bytes();
        other[0] = if other[0] == b'0' { b'1' } else { b'0' };
        let other = Token::parse(&String::from_utf8(other).unwrap()).unwrap();
        assert!(sessions.touch(now, &other.key()).is_none());
        for bad in [
            "",
            "00",
            "zz",
            &token.text()[1..],
            &format!("{}00", token.text()),
        ] {
            assert_eq!(Token::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_session_ends_unused_and_in_any_case() {
        let (mut sessions, start) = (sessions(), Instant::now());
        let unused = sessions.open(start, anna()).key();
        let used = sessions.open(start, anna()).key();
        let mut now = start;
        while now + IDLE / 2 < start + LIMIT {
            now += IDLE / 2;
            assert!(sessions.touch(now, &used).is_some(), "{:?}", now - start);
        }
        assert!(sessions.touch(start + IDLE, &unused).is_none());
        assert!(sessions.touch(start + LIMIT, &used).is_none());
        assert!(sessions.list(start + LIMIT).is_empty());
    }

    #[test]
    fn ended_by_number_or_by_sign_out() {
        let (mut sessions, now) = (sessions(), Instant::now());
        let (first, second) = (
            sessions.open(now, anna()).key(),
            sessions.open(now, anna()).key(),
        );
        let list = sessions.list(now);
        assert!(list[0].is(&first) && list[1].is(&second));
        assert_eq!(sessions.end(list[1].number), Some("anna".into()));
        assert_eq!(sessions.end(list[1].number), None);
        sessions.remove(&first);
        assert!(sessions.list(now).is_empty());
    }

    #[test]
    fn a_flash_is_told_once() {
        let (mut sessions, now) = (sessions(), Instant::now());
        let key = sessions.open(now, anna()).key();
        sessions.flash(&key, Ok("done".into()));
        assert_eq!(sessions.take_flash(&key), Some(Ok("done".into())));
        assert_eq!(sessions.take_flash(&key), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (mut sessions, start) = (sessions(), Instant::now());
        let first = sessions.open(start, anna()).key();
        for number in 0..MOST {
            let number = u64::try_from(number).unwrap();
            sessions.open(start + Duration::from_micros(1 + number), anna());
        }
        assert_eq!(sessions.sessions.len(), MOST);
        assert!(sessions.touch(start, &first).is_none());
    }
}
