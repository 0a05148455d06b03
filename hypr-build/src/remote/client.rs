//! What fetches from the network: HTTP clients, made when they are first needed, and the command for SSH.

use std::{path::PathBuf, sync::OnceLock};

use reqwest::Url;

use super::RemoteError;
use crate::http;

/// The program for SSH: it asks nobody, and does not wait without end for a server that is not there or goes away.
#[cfg(feature = "git")]
const SSH: &str = "ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// Fetches over HTTP; one for a build is enough.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// For this machine: never by way of a proxy.
    local: OnceLock<reqwest::Client>,
    /// For all others: by way of the proxies of the environment.
    remote: OnceLock<reqwest::Client>,
    /// The socket of the SSH agent that is asked for keys, if not the one that the user's `ssh` asks.
    #[cfg_attr(not(feature = "git"), expect(dead_code, reason = "only git repositories are fetched over SSH"))]
    ssh_agent: Option<PathBuf>,
}

impl Client {
    /// A client whose connections over SSH ask this agent.
    pub(crate) fn new(ssh_agent: Option<PathBuf>) -> Self {
        Self { ssh_agent, ..Self::default() }
    }

    /// The program that connects over SSH, with its options, as a shell takes it.
    #[cfg(feature = "git")]
    pub(super) fn ssh_command(&self) -> String {
        let agent = self.ssh_agent.as_ref().map(|path| {
            // A percent sign means something to `ssh`.
            let path = path.display().to_string().replace('%', "%%").replace('\'', r"'\''");
            format!(" -o 'IdentityAgent=\"{path}\"'")
        });
        format!("{SSH}{}", agent.unwrap_or_default())
    }

    /// The client for a URL.
    pub(super) fn of(&self, url: &Url) -> Result<&reqwest::Client, RemoteError> {
        let is_local = url.host_str().is_some_and(http::is_this_machine);
        let place = if is_local { &self.local } else { &self.remote };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        // A file is what the server has, not what a referrer may see of it.
        let builder = http::client().referer(false);
        let builder = if is_local { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| RemoteError::Unreachable {
            url: super::hide_password(url.as_str()),
            reason: format!("TLS cannot be set up: {}", http::causes(&error)),
        })?;
        Ok(place.get_or_init(|| client))
    }
}
