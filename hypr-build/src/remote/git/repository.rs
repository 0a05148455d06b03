//! A bare repository in the work folder, and what is fetched into it.

use std::{num::NonZeroU32, path::Path, sync::atomic::AtomicBool};

use gix::{
    ObjectId,
    bstr::ByteSlice,
    create::Kind,
    credentials::{helper::Action, protocol::Outcome},
    open::Options,
    progress::Discard,
    protocol::handshake::Ref,
    remote::{
        Direction,
        fetch::{Shallow, Tags},
    },
    sec::identity::Account,
};
use reqwest::Url;

use super::daemon;
use crate::remote::{RemoteError, hide_password, location::percent_decoded};

/// A repository that was fetched, as far as it is needed.
pub(super) struct Repository {
    pub(super) inner: gix::Repository,
    /// Without who asks for it.
    pub(super) url: String,
    account: Option<Account>,
    /// The command that connects over SSH.
    pub(super) ssh: String,
}

/// Whether `text` is a commit's whole name.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A URL of HTTP without user and password; with SSH, the user is part of the address.
pub(super) fn without_account(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.scheme().starts_with("http") => {
            let _ = parsed.set_password(None);
            let _ = parsed.set_username("");
            parsed.into()
        }
        _ => url.to_owned(),
    }
}

impl Repository {
    /// An empty repository at `path`, to fetch `url` into, over SSH by the command `ssh`. Nothing is asked of the server
    /// yet.
    pub(super) fn new(path: &Path, url: &str, ssh: &str) -> Result<Self, RemoteError> {
        // Neither the user's nor the machine's configuration counts, and nobody can be asked for a password.
        let options = Options::isolated().config_overrides([format!("core.sshCommand={ssh}")]);
        let opened = gix::ThreadSafeRepository::init_opts(path, Kind::Bare, gix::create::Options::default(), options);
        let inner = opened.map_err(|error| failed(url, &error))?.to_thread_local();
        let parsed = Url::parse(url).ok().filter(|parsed| parsed.scheme().starts_with("http"));
        let account = parsed.filter(|parsed| !parsed.username().is_empty() || parsed.password().is_some());
        let account = account.map(|parsed| Account {
            username: percent_decoded(parsed.username()),
            password: percent_decoded(parsed.password().unwrap_or_default()),
            oauth_refresh_token: None,
        });
        Ok(Self { inner, url: without_account(url), account, ssh: ssh.to_owned() })
    }

    /// Finds the commit that `reference` names, and fetches it unless `is_known` says that there is no need.
    pub(super) fn fetch(
        &mut self,
        reference: Option<&str>,
        interrupt: &AtomicBool,
        is_known: &dyn Fn(&str) -> Result<bool, RemoteError>,
    ) -> Result<String, RemoteError> {
        if let Some(commit) = reference.filter(|reference| is_commit(reference)) {
            let alone = self.receive(commit, &[format!("+{commit}:refs/hypr/commit")], true, interrupt, &|_| Ok(true));
            if alone.is_ok() && self.has(commit) {
                return Ok(commit.to_owned());
            }
            // Servers may refuse to give away what no reference leads to; it may be behind one.
            let all = ["+refs/heads/*:refs/hypr/heads/*", "+refs/tags/*:refs/hypr/tags/*"].map(str::to_owned);
            self.receive(commit, &all, false, interrupt, &|_| Ok(true))?;
            return match self.has(commit) {
                true => Ok(commit.to_owned()),
                false => Err(self.no_reference(commit)),
            };
        }
        // In the order in which git prefers them.
        let candidates = match reference {
            None => vec!["HEAD".to_owned()],
            Some(name) if name.starts_with("refs/") => vec![name.to_owned()],
            Some(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), format!("refs/{name}")],
        };
        let specs: Vec<String> =
            candidates.iter().enumerate().map(|(number, name)| format!("+{name}:refs/hypr/{number}")).collect();
        let choose = |refs: &[Ref]| {
            let object = candidates.iter().find_map(|wanted| {
                refs.iter().find_map(|remote| {
                    let (name, object, peeled) = remote.unpack();
                    (name == wanted.as_str()).then_some(peeled.or(object)).flatten().map(|id| id.to_owned())
                })
            });
            object.map(|object| object.to_string())
        };
        let refs = self.receive(reference.unwrap_or("HEAD"), &specs, true, interrupt, &|refs| {
            choose(refs).map_or(Ok(false), |commit| Ok(!is_known(&commit)?))
        })?;
        choose(&refs).ok_or_else(|| self.no_reference(reference.unwrap_or("HEAD")))
    }

    fn has(&self, commit: &str) -> bool {
        ObjectId::from_hex(commit.as_bytes()).is_ok_and(|id| self.inner.find_object(id).is_ok())
    }

    fn no_reference(&self, reference: &str) -> RemoteError {
        RemoteError::NoReference { url: hide_password(&self.url), reference: reference.to_owned() }
    }

    /// Asks the server for the references that `specs` name for `reference`, and fetches them if `wanted` says so.
    fn receive(
        &self,
        reference: &str,
        specs: &[String],
        shallow: bool,
        interrupt: &AtomicBool,
        wanted: &dyn Fn(&[Ref]) -> Result<bool, RemoteError>,
    ) -> Result<Vec<Ref>, RemoteError> {
        let failed = |error: gix::Error| failed(&self.url, &error);
        let remote = self.inner.remote_at(self.url.as_str()).map_err(failed)?;
        let remote = remote.with_fetch_tags(Tags::None);
        let remote = remote.with_refspecs(specs.iter().map(|spec| spec.as_bytes().as_bstr()), Direction::Fetch);
        // A name that no reference can have is one that the repository has not.
        let remote = remote.map_err(|_| self.no_reference(reference))?;
        let account = self.account.clone();
        let silent = |error: std::io::Error| RemoteError::Unreachable {
            url: hide_password(&self.url),
            reason: error.to_string(),
        };
        let connection = match daemon::connect(&self.url).map_err(silent)? {
            Some(transport) => remote.to_connection_with_transport(transport),
            None => remote.connect(Direction::Fetch).map_err(failed)?,
        };
        let connection = connection.with_credentials(move |action| {
            Ok(match (action, &account) {
                (Action::Get(context), Some(account)) => {
                    Some(Outcome { identity: account.clone(), next: context.into() })
                }
                _ => None,
            })
        });
        let prepared = connection.prepare_fetch(Discard, Default::default()).map_err(failed)?;
        let refs = prepared.ref_map().remote_refs.clone();
        if wanted(&refs)? {
            let depth = match shallow {
                true => Shallow::DepthAtRemote(NonZeroU32::MIN),
                false => Shallow::NoChange,
            };
            prepared.with_shallow(depth).receive(Discard, interrupt).map_err(failed)?;
        }
        Ok(refs)
    }

    /// A failure of the library's.
    pub(super) fn failed(&self, error: &dyn std::error::Error) -> RemoteError {
        failed(&self.url, error)
    }
}

/// An error of the library with its causes in one line; what it says of the URL is without a password.
pub(super) fn failed(url: &str, error: &dyn std::error::Error) -> RemoteError {
    let mut reason = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        next = cause.source();
    }
    // What a connection says whose patience is over.
    let reason =
        reason.replace("Resource temporarily unavailable (os error 11)", "the server said nothing for a minute");
    // The library's words for a server that wants to know who asks, when nobody told it.
    if reason.contains("No credentials were returned") {
        let way = match url.starts_with("ssh") {
            true => "the server refuses access; add your key to an SSH agent and give it with `--ssh default`",
            false => "the server wants a user and a password: `https://USER:PASSWORD@HOST/...`",
        };
        return RemoteError::Git { url: hide_password(url), reason: way.to_owned() };
    }
    RemoteError::Git { url: hide_password(url), reason: hide_password(&reason.replace('\n', " ")) }
}
