//! The least of an HTTP client: one small question, one answer.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Asks for a path.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, "GET", path, "").await
}

/// Sends JSON to a path.
pub(crate) async fn post(address: SocketAddr, path: &str, json: &str) -> Result<String> {
    ask(address, "POST", path, json).await
}

/// HTTP 1.0, so that the answer ends with the connection and has no chunks.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("cannot reach {address}"))?;
    let length = body.len();
    let question =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(question.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("{path} gave no answer of HTTP: {answer:?}"))?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "{method} {path}: {status}: {body}");
    Ok(body.to_owned())
}
