//! Connections to `git://`, git's own protocol, on which a server that says nothing is not waited for without end.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use gix::protocol::transport::{
    Protocol,
    client::{
        blocking_io::Transport,
        git::{ConnectMode, blocking_io::Connection},
    },
};
use reqwest::Url;

use crate::remote::location::percent_decoded;

const PORT: u16 = 9418;

/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(15);

/// How long the server may say nothing, or take nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// Connects to the server of `url`; `None` if that is no URL of this protocol.
pub(super) fn connect(url: &str) -> io::Result<Option<Box<dyn Transport + Send>>> {
    let Some(url) = Url::parse(url).ok().filter(|url| url.scheme() == "git") else { return Ok(None) };
    let host = url.host_str().ok_or_else(|| io::Error::other("there is no host in it"))?.to_owned();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let mut failed = io::Error::other("the host has no address");
    for address in (name, url.port().unwrap_or(PORT)).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECTING) {
            Ok(stream) => {
                stream.set_read_timeout(Some(SILENCE))?;
                stream.set_write_timeout(Some(SILENCE))?;
                let (reader, path) = (stream.try_clone()?, percent_decoded(url.path()));
                let server = Some((host, url.port()));
                let connection =
                    Connection::new(reader, stream, Protocol::V2, path, server, ConnectMode::Daemon, false);
                return Ok(Some(Box::new(connection.custom_url(Some(url.as_str().into())))));
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
