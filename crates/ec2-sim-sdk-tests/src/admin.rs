//! Requests to the admin interface, which is plain HTTP with JSON.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Posts a body and waits for the answer. Blocks. Anything but success is an error that quotes the answer.
pub(crate) fn post(address: SocketAddr, path: &str, body: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(Error::other(format!("{path} {body}: {answer}"))) }
}
