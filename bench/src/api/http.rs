//! HTTP/1.1 over TLS, as little of it as a load generator needs: it shares the cores with the server that it measures.
//!
//! Bodies are counted, not parsed.

use anyhow::{Context, Result, bail, ensure};
use rustls::{ClientConfig, pki_types::ServerName};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// What is read at once.
const READ_BYTES: usize = 64 << 10;

/// A server, and who asks it.
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) tls: Arc<ClientConfig>,
}

impl Endpoint {
    pub(super) async fn connect(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address).await.context("connecting")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream =
            TlsConnector::from(self.tls.clone()).connect(name, tcp).await.context("TLS handshake")?;
        Ok(Connection { stream, buffer: vec![0; READ_BYTES], start: 0, end: 0 })
    }

    pub(super) async fn connect_all(&self, number: usize) -> Result<Vec<Connection>> {
        let mut connections = Vec::with_capacity(number);
        for _ in 0..number {
            connections.push(self.connect().await?);
        }
        Ok(connections)
    }
}

/// A request as bytes; a body is JSON.
pub(super) fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    with_type(method, path, "application/json", body)
}

pub(super) fn patch(path: &str, media_type: &str, body: &str) -> Vec<u8> {
    with_type("PATCH", path, media_type, body)
}

fn with_type(method: &str, path: &str, media_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nAccept: application/json\r\nUser-Agent: keelson-bench\r\n\
         Content-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A connection on which one request follows another.
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    /// What was read and not taken.
    start: usize,
    end: usize,
}

/// What is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(usize),
    /// Of the present chunk, its line end included; 0 before the first.
    Chunk(usize),
    Nothing,
}

impl Connection {
    /// Sends a request and reads its answer, which must have this code. The bytes of its body.
    pub(super) async fn ask(&mut self, request: &[u8], code: u16) -> Result<usize> {
        self.send(request).await?;
        let mut body = self.head(code).await?;
        let mut bytes = 0;
        while let Some(data) = body.next(self).await? {
            bytes += data.len();
        }
        Ok(bytes)
    }

    pub(super) async fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads the head of an answer.
    pub(super) async fn head(&mut self, code: u16) -> Result<Body> {
        let end = loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = find(unread, b"\r\n\r\n") {
                break self.start + at;
            }
            ensure!(unread.len() < HEAD_BYTES_MAX, "an answer's head is too long");
            self.read().await?;
        };
        let head = std::str::from_utf8(&self.buffer[self.start..end]).context("an answer's head")?;
        let found: u16 =
            head.get(9..12).and_then(|code| code.parse().ok()).context("an answer without code")?;
        let left = left(head)?;
        self.start = end + 4;
        let mut body = Body { left };
        if found != code {
            let mut text = Vec::new();
            while let Some(data) = body.next(self).await? {
                text.extend_from_slice(data);
            }
            bail!("answered {found}, not {code}: {}", String::from_utf8_lossy(&text));
        }
        Ok(body)
    }

    /// Reads more after what is there.
    async fn read(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let number = self.stream.read(&mut self.buffer[self.end..]).await?;
        ensure!(number > 0, "the server closed the connection");
        self.end += number;
        Ok(())
    }

    /// Up to the next line end, which is taken, too.
    async fn line(&mut self) -> Result<usize> {
        loop {
            if let Some(at) = find(&self.buffer[self.start..self.end], b"\r\n") {
                let text = std::str::from_utf8(&self.buffer[self.start..self.start + at])?;
                let size = usize::from_str_radix(text.trim(), 16).context("a chunk's size")?;
                self.start += at + 2;
                return Ok(size);
            }
            ensure!(self.end - self.start < 64, "a chunk's size is too long");
            self.read().await?;
        }
    }
}

/// A body that is being read.
pub(super) struct Body {
    left: Left,
}

impl Body {
    /// The next bytes as they come; none at the end.
    pub(super) async fn next<'c>(&mut self, connection: &'c mut Connection) -> Result<Option<&'c [u8]>> {
        loop {
            let wanted = match self.left {
                Left::Nothing | Left::Bytes(0) => return Ok(None),
                Left::Bytes(left) => left,
                Left::Chunk(0) => {
                    let size = connection.line().await?;
                    // The last one is followed by an empty line alone: nobody here sends trailers.
                    self.left = Left::Chunk(size + 2);
                    if size == 0 {
                        while connection.end - connection.start < 2 {
                            connection.read().await?;
                        }
                        connection.start += 2;
                        self.left = Left::Nothing;
                    }
                    continue;
                }
                Left::Chunk(left) => left,
            };
            if connection.start == connection.end {
                connection.read().await?;
            }
            let taken = wanted.min(connection.end - connection.start);
            let from = connection.start;
            connection.start += taken;
            let of_line_end = match &mut self.left {
                Left::Bytes(left) => {
                    *left -= taken;
                    0
                }
                Left::Chunk(left) => {
                    *left -= taken;
                    2_usize.saturating_sub(*left).min(taken)
                }
                Left::Nothing => 0,
            };
            if taken > of_line_end {
                return Ok(Some(&connection.buffer[from..from + taken - of_line_end]));
            }
        }
    }
}

fn left(head: &str) -> Result<Left> {
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Left::Bytes(value.trim().parse().context("Content-Length")?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Left::Chunk(0));
        }
    }
    Ok(Left::Nothing)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
