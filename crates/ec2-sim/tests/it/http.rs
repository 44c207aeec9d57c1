//! A client of a few lines, so that the tests see the bytes and not what a library makes of them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// An answer: the status and the body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The text of the first element of this name.
    pub(crate) fn text(&self, element: &str) -> String {
        self.texts(element).into_iter().next().unwrap_or_else(|| panic!("no {element} in {}", self.body))
    }

    /// The texts of all elements of this name, in order.
    pub(crate) fn texts(&self, element: &str) -> Vec<String> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let after = self.body.split(&open).skip(1);
        after.filter_map(|rest| Some(rest.split(&close).next()?.to_owned())).collect()
    }
}

/// Sends `Action=<action>&Version=…&<rest>` as EC2 clients do.
pub(crate) fn call(address: SocketAddr, action: &str, rest: &str) -> Answer {
    let body = format!("Action={action}&Version=2016-11-15&{rest}");
    request(address, "POST", "/", &body)
}

/// Sends a request and reads the answer to its end. Blocks.
pub(crate) fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    request_with(address, method, path, "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n", body)
}

/// The same with these header lines, each with its line end.
pub(crate) fn request_with(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
