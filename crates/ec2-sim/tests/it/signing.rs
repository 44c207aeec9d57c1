//! A signer of a few lines, written apart from the one that checks, as a client would have it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::http::Answer;

/// Who signs, and when.
#[derive(Clone, Copy)]
pub(crate) struct Signer {
    pub(crate) id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) token: Option<&'static str>,
    pub(crate) region: &'static str,
    /// Seconds that its clock is ahead.
    pub(crate) ahead: i64,
}

impl Signer {
    pub(crate) fn new(id: &'static str, secret: &'static str) -> Self {
        Self { id, secret, token: None, region: "us-east-1", ahead: 0 }
    }

    /// Sends `Action=<action>&Version=…&<rest>`, signed.
    pub(crate) fn call(self, address: SocketAddr, action: &str, rest: &str) -> Answer {
        let body = format!("Action={action}&Version=2016-11-15&{rest}");
        let now = Timestamp::now() + jiff::SignedDuration::from_secs(self.ahead);
        let (time, date) = (now.strftime("%Y%m%dT%H%M%SZ").to_string(), now.strftime("%Y%m%d").to_string());
        let mut headers = vec![("host", address.to_string()), ("x-amz-date", time.clone())];
        headers.extend(self.token.map(|token| ("x-amz-security-token", token.to_owned())));
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers.iter().map(|(name, value)| [name, ":", value, "\n"].concat()).collect();
        let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", hex::encode(Sha256::digest(&body)));
        let scope = format!("{date}/{}/ec2/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let key = [date.as_str(), self.region, "ec2", "aws4_request"]
            .iter()
            .fold(format!("AWS4{}", self.secret).into_bytes(), |key, part| mac(&key, part));
        let signature = hex::encode(mac(&key, &text));
        headers.push((
            "authorization",
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.id),
        ));
        send(address, &headers, &body)
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn send(address: SocketAddr, headers: &[(&str, String)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    let lines: String = headers.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
    write!(stream, "POST / HTTP/1.1\r\n{lines}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
