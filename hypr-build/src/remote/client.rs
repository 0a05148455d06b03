//! The HTTP client: made when it is first needed, bounded in time and redirects.

use std::{error::Error as _, path::PathBuf, sync::OnceLock, time::Duration};

use reqwest::{Url, redirect::Policy};

use super::RemoteError;
use crate::image::is_this_machine;

/// Redirects that are followed for one URL.
const REDIRECTS: usize = 10;

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
        format!("ssh -o BatchMode=yes{}", agent.unwrap_or_default())
    }

    /// The client for a URL.
    pub(super) fn of(&self, url: &Url) -> Result<&reqwest::Client, RemoteError> {
        let is_local = url.host_str().is_some_and(is_this_machine);
        let place = if is_local { &self.local } else { &self.remote };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        install_tls();
        let builder = reqwest::Client::builder()
            .user_agent(concat!("hypr/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(15))
            .read_timeout(Duration::from_secs(60))
            // A file is what the server has, not what a referrer may see of it.
            .referer(false)
            .redirect(Policy::limited(REDIRECTS));
        let builder = if is_local { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| RemoteError::Unreachable {
            url: super::hide_password(url.as_str()),
            reason: format!("TLS cannot be set up: {}", chain(&error)),
        })?;
        Ok(place.get_or_init(|| client))
    }
}

/// Chooses how TLS is done, if nobody did.
pub(super) fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be faster, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The causes of an error in one line. They name no URL, in which there may be a password.
pub(super) fn chain(error: &reqwest::Error) -> String {
    if error.is_redirect() {
        return format!("it redirects more than {REDIRECTS} times, or to where nobody can follow");
    }
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Several layers of the client say the same.
        if !causes.iter().any(|known: &String| known.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    match causes.is_empty() {
        true if error.is_timeout() => "it does not answer".to_owned(),
        true => "the request failed".to_owned(),
        false => causes.join(": "),
    }
}
