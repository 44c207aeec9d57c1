//! A client of EC2's protocol that costs next to nothing, so that the server is what is measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result, ensure};

/// What a server that looks for the service finds it in. Nobody here checks the signature.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=any/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=00";

/// A client with at most one connection.
pub(super) struct Client {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Makes a call and returns the body of the answer; anything but success is an error.
    pub(super) fn call(&mut self, query: &str) -> Result<String> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(connect(self.address)?),
        };
        let body = format!("{query}&Version=2016-11-15");
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: {AUTHORIZATION}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        connection.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        let (status, text, keeps) = answer(&mut connection).with_context(|| format!("{query} was not answered"))?;
        ensure!(status.contains(" 200"), "{query}: {status}: {text}");
        self.connection = keeps.then_some(connection);
        Ok(text)
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Status line, body, and whether the connection can be used again.
fn answer(connection: &mut BufReader<TcpStream>) -> Result<(String, String, bool)> {
    let mut status = String::new();
    connection.read_line(&mut status)?;
    let mut keeps = status.starts_with("HTTP/1.1");
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line)? > 0, "the connection was closed");
        let line = line.trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse()?,
            Some(("connection", value)) => keeps &= value != "close",
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((status.trim_end().to_owned(), String::from_utf8(body)?, keeps))
}
