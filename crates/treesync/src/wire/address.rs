//! Where an end listens: a Unix socket in plain, or a host and port under mutual TLS. There is no third way.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a publisher listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A Unix socket: plain, guarded by the permissions of its directory.
    Unix(PathBuf),
    /// A name or an IP address with a port: always mutual TLS.
    Tcp {
        /// A DNS name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// Port; 0 lets the kernel choose one when listening.
        port: u16,
    },
}

/// Why a text is no address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("address {text:?} {problem}; write unix:PATH or HOST:PORT")]
pub struct AddressError {
    text: String,
    problem: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = |problem| AddressError { text: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            return if path.as_os_str().is_empty() { Err(error("names no socket")) } else { Ok(Self::Unix(path)) };
        }
        if text.contains("://") {
            return Err(error("has a scheme that is not unix:"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("has no port"))?;
        let port = port.parse().map_err(|_| error("has a port that is not a number up to 65535"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(error("has an IPv6 address without brackets"));
        }
        let host = bare.unwrap_or(host);
        let is_good = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:%".contains(c));
        if is_good { Ok(Self::Tcp { host: host.to_owned(), port }) } else { Err(error("has no host, or one with odd characters")) }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_as_it_was_written() {
        for text in ["unix:/run/treesync.sock", "unix:relative.sock", "localhost:7070", "10.0.0.1:1", "[::1]:80", "[fe80::1%eth0]:80"] {
            assert_eq!(text.parse::<Address>().expect(text).to_string(), text);
        }
        assert_eq!("unix:///run/a".parse::<Address>().expect("three slashes"), Address::Unix("/run/a".into()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_fix() {
        for text in ["", "unix:", "localhost", "localhost:", "localhost:99999", "http://a:1", "::1:80", ":80", "a b:80"] {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains("write unix:PATH or HOST:PORT"), "{error}");
        }
    }
}
