//! Requests to registries: addresses, retries, bounds, errors.

use std::{
    collections::HashMap,
    error::Error as _,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RANGE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use super::{Credentials, auth};
use crate::{
    http::{self, causes, is_this_machine},
    image::{
        ImageError, Reference,
        source::{Document, MANIFEST_LIMIT},
    },
};

/// Attempts at a request whose failure may be a passing one.
pub(super) const ATTEMPTS: u32 = 5;

/// The longest that a registry may make us wait before the next attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Bytes of an error's text that are read.
const MESSAGE_LIMIT: u64 = 64 << 10;

/// Talks to registries; one for a program is enough. Remembers tokens, for itself alone.
#[derive(Debug)]
pub struct RegistryClient {
    /// For this machine: plain HTTP, never by way of a proxy.
    local: OnceLock<reqwest::Client>,
    /// For all others: HTTPS only, also after a redirect.
    remote: OnceLock<reqwest::Client>,
    credentials: Credentials,
    /// What to send to a repository: a token or a password.
    authorizations: Mutex<HashMap<(String, String), HeaderValue>>,
}

/// What is asked of a registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) reference: &'a Reference,
    /// `manifests` or `blobs`.
    pub(super) kind: &'static str,
    /// A digest or a tag.
    pub(super) wanted: &'a str,
    /// What to accept, for manifests.
    pub(super) accept: Option<&'a str>,
    /// Where to begin, in bytes.
    pub(super) offset: u64,
}

impl RegistryClient {
    /// A client that proves who it is with `credentials`.
    pub fn new(credentials: Credentials) -> Arc<Self> {
        let (local, remote) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self { local, remote, credentials, authorizations: Mutex::default() })
    }

    /// Fetches a manifest or index.
    pub(super) async fn manifest(
        &self,
        reference: &Reference,
        wanted: &str,
        accept: &str,
    ) -> Result<Document, ImageError> {
        let request = Request { reference, kind: "manifests", wanted, accept: Some(accept), offset: 0 };
        let mut attempt = 1;
        loop {
            let response = self.get(request).await?;
            let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let media_type = media_type.and_then(|text| text.split(';').next()).map(|text| text.trim().to_owned());
            match read_bounded(response, MANIFEST_LIMIT).await {
                Ok(Some(bytes)) => return Ok(Document { bytes, media_type }),
                Ok(None) => {
                    return Err(ImageError::TooLarge {
                        image: reference.to_string(),
                        what: "the manifest".to_owned(),
                        limit: MANIFEST_LIMIT,
                    });
                }
                Err(_) if attempt < ATTEMPTS => {
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(request.unreachable(error)),
            }
        }
    }

    /// Makes a request until it succeeds, is refused for good, or has failed too often.
    pub(super) async fn get(&self, request: Request<'_>) -> Result<Response, ImageError> {
        let url = url(request)?;
        let key = (request.reference.domain().to_owned(), request.reference.path().to_owned());
        let mut authorized_anew = false;
        let mut attempt = 1;
        loop {
            let authorization = self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
            let mut builder = self.client_for(&url)?.get(url.clone());
            if let Some(accept) = request.accept {
                builder = builder.header(ACCEPT, accept);
            }
            if request.offset > 0 {
                builder = builder.header(RANGE, format!("bytes={}-", request.offset));
            }
            if let Some(value) = authorization {
                builder = builder.header(AUTHORIZATION, value);
            }
            let response = match builder.send().await {
                Ok(response) => response,
                Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                    tracing::debug!(%url, attempt, error = causes(&error), "a registry cannot be reached, trying again");
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                    continue;
                }
                Err(error) => return Err(request.unreachable(error)),
            };
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && !authorized_anew {
                let challenges: Vec<_> =
                    response.headers().get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok()).collect();
                if let Some(value) = auth::answer(self, request.reference, &challenges).await? {
                    authorized_anew = true;
                    self.authorizations.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), value);
                    continue;
                }
            }
            let is_passing = matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
            if is_passing && attempt < ATTEMPTS {
                let wait = retry_after(&response).unwrap_or_else(|| pause(attempt));
                tracing::debug!(%url, attempt, %status, ?wait, "a registry is busy, trying again");
                tokio::time::sleep(wait).await;
                attempt += 1;
                continue;
            }
            return Err(request.refused(response).await);
        }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    ///
    /// It is made when it is first needed: reading the system's certificates takes longer than a build that has
    /// everything in its cache.
    pub(super) fn client_for(&self, url: &Url) -> Result<&reqwest::Client, ImageError> {
        let is_local = url.host_str().is_some_and(is_this_machine);
        let place = if is_local { &self.local } else { &self.remote };
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let builder = http::client();
        let builder = if is_local { builder.no_proxy() } else { builder.https_only(true) };
        let client = builder.build().map_err(|error| ImageError::Credentials {
            registry: url.host_str().unwrap_or("any").to_owned(),
            reason: format!("TLS cannot be set up: {}", causes(&error)),
        })?;
        Ok(place.get_or_init(|| client))
    }
}

impl Request<'_> {
    fn what(&self) -> String {
        match self.kind {
            "manifests" => format!("manifest {}", self.wanted),
            _ => format!("blob {}", self.wanted),
        }
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> ImageError {
        ImageError::Unreachable {
            image: self.reference.to_string(),
            registry: self.reference.domain().to_owned(),
            source: Box::new(Unreached(causes(&error))),
        }
    }

    async fn refused(&self, response: Response) -> ImageError {
        let status = response.status();
        let image = self.reference.to_string();
        let registry = self.reference.domain().to_owned();
        let message = message(response).await;
        match status {
            StatusCode::NOT_FOUND if self.kind == "manifests" => ImageError::NotFound {
                image,
                tried: vec![format!("registry {registry} does not have it{}", in_brackets(&message))],
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let reason = if message.is_empty() { status.to_string() } else { message };
                ImageError::Unauthorized { image, registry, reason }
            }
            _ => ImageError::Answer { image, registry, what: self.what(), status: status.as_u16(), message },
        }
    }
}

/// What the system said about a connection, in one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreached(String);

fn in_brackets(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

/// Where the registry of a domain is.
fn url(request: Request<'_>) -> Result<Url, ImageError> {
    let reference = request.reference;
    let scheme = if is_this_machine(reference.host()) { "http" } else { "https" };
    let host = match reference.domain() {
        "docker.io" => "registry-1.docker.io",
        domain => domain,
    };
    let (kind, wanted) = (request.kind, request.wanted);
    let url = format!("{scheme}://{host}/v2/{}/{kind}/{wanted}", reference.path());
    Url::parse(&url).map_err(|error| ImageError::Malformed {
        image: reference.to_string(),
        what: "the registry's address".to_owned(),
        reason: error.to_string(),
    })
}

/// Whether trying again may help: not with a port that nobody listens on or a certificate that is wrong.
fn is_passing(error: &reqwest::Error) -> bool {
    if error.is_builder() || error.is_redirect() {
        return false;
    }
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::ConnectionRefused
        {
            return false;
        }
        if cause.is::<rustls::Error>() {
            return false;
        }
        next = cause.source();
    }
    !error.is_connect() || error.is_timeout() || !format!("{error:?}").contains("dns")
}

/// How long to wait after the attempt: a quarter of a second, doubled each time, and up to a half on top, so that
/// several clients do not come back together.
pub(super) fn pause(attempt: u32) -> Duration {
    let base = Duration::from_millis(250) * 2_u32.saturating_pow(attempt.saturating_sub(1).min(6));
    let jitter = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), attempt) % 512;
    base + base * u32::try_from(jitter).unwrap_or(0) / 1024
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The whole body, or `None` if it is longer than `limit` bytes.
pub(super) async fn read_bounded(mut response: Response, limit: u64) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// What a registry says about an error, in one short line.
pub(super) async fn message(response: Response) -> String {
    #[derive(serde::Deserialize)]
    struct Answer {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let Ok(Some(bytes)) = read_bounded(response, MESSAGE_LIMIT).await else { return String::new() };
    let text = match serde_json::from_slice::<Answer>(&bytes) {
        Ok(answer) => {
            let texts = answer.errors.into_iter().map(|Entry { code, message }| match message.is_empty() {
                true => code.to_lowercase(),
                false => message,
            });
            texts.collect::<Vec<_>>().join("; ")
        }
        // A page for people says nothing in a line.
        Err(_) => String::new(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    text.trim().to_owned()
}
