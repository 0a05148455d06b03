//! A file over HTTP: fetched once, and asked for again with the validators of the last answer.

use std::{collections::BTreeMap, time::Instant};

use hypr_squash::{Metadata, Options, Writer};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_DISPOSITION, ETAG, HeaderMap, HeaderName, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED},
};

use super::{
    Client, Kept, RemoteError, blocking,
    body::{self, Body},
    hide_password,
    location::percent_decoded,
};
use crate::{
    http::causes,
    snapshot::Layer,
    store::{Key, StepRecord, Store, StoreError, Timestamp},
};

/// What a file is called in its layer when nothing tells its name.
const UNNAMED: &str = "download";

/// Bytes of a file at most.
const LIMIT: u64 = 64 << 30;

/// Attempts at a request whose failure may be a passing one.
const ATTEMPTS: u32 = 3;

/// What the record of a URL keeps beside the layer.
const DIGEST: &str = "digest";
const NAME: &str = "name";
const FILE: &str = "file";
const VALIDATORS: [(&str, HeaderName, HeaderName); 2] =
    [("etag", ETAG, IF_NONE_MATCH), ("last-modified", LAST_MODIFIED, IF_MODIFIED_SINCE)];

/// Fetches `url`, or finds that the store has what is there.
pub(super) async fn fetch(
    client: &Client,
    store: &Store,
    url: &Url,
    checksum: Option<&str>,
) -> Result<Kept, RemoteError> {
    let key = key(url);
    // The same URL in several places is fetched once.
    let _lock = store.lock_step(&key).await?;
    let known = known(store, &key)?;
    let shown = hide_password(url.as_str());
    if let (Some(known), Some(checksum)) = (&known, checksum)
        && known.record.data.get(DIGEST).is_some_and(|digest| digest == checksum)
    {
        // What is pinned is what it is, whatever the server has by now.
        return Ok(known.kept());
    }
    let request = Request { client, url, shown: &shown };
    let response = request.send(known.as_ref()).await?;
    if let Some(known) = &known
        && (response.status() == StatusCode::NOT_MODIFIED || known.has_tag(response.headers()))
    {
        check(&shown, checksum, &known.record.data[DIGEST])?;
        return Ok(known.kept());
    }
    if !response.status().is_success() {
        return Err(RemoteError::Status { url: shown, status: response.status().to_string() });
    }
    let started = Instant::now();
    let headers = response.headers().clone();
    let name = url_name(url).or_else(|| file_name(&headers));
    let file = name.clone().unwrap_or_else(|| UNNAMED.to_owned());
    let (layer, digest) = receive(store, response, &file, &shown, checksum).await?;
    let mut data = BTreeMap::from([(DIGEST.to_owned(), digest), (FILE.to_owned(), file)]);
    data.extend(name.map(|name| (NAME.to_owned(), name)));
    for (name, header, _) in VALIDATORS {
        data.extend(text(&headers, &header).map(|value| (name.to_owned(), value.to_owned())));
    }
    let record = StepRecord {
        key,
        layer: Some(layer.id),
        created: Timestamp::now(),
        duration: started.elapsed(),
        executor: None,
        data,
    };
    store.publish_step(&record)?;
    Ok(Known { layer, record }.kept())
}

/// The key of a URL's record. Who asks for it is not in it, and a password least of all.
fn key(url: &Url) -> Key {
    let mut url = url.clone();
    url.set_fragment(None);
    // Only a URL without a host has no place for them.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    Key::new("http").input("url", url)
}

/// What the store has of a URL.
struct Known {
    layer: Layer,
    record: StepRecord,
}

fn known(store: &Store, key: &Key) -> Result<Option<Known>, StoreError> {
    let is_whole = |record: &StepRecord| [DIGEST, FILE].iter().all(|name| record.data.contains_key(*name));
    let record = store.step(key)?.filter(is_whole);
    Ok(record.and_then(|record| Some(Known { layer: store.layer(&record.layer?)?, record })))
}

impl Known {
    fn kept(&self) -> Kept {
        Kept {
            layer: self.layer.clone(),
            path: self.record.data[FILE].clone().into_bytes(),
            name: self.record.data.get(NAME).cloned(),
        }
    }

    /// Whether an answer carries the tag of what is known: some servers send the content nevertheless.
    fn has_tag(&self, headers: &HeaderMap) -> bool {
        let tag = text(headers, &ETAG).filter(|tag| !tag.starts_with("W/"));
        tag.is_some() && tag == self.record.data.get("etag").map(String::as_str)
    }
}

struct Request<'a> {
    client: &'a Client,
    url: &'a Url,
    shown: &'a str,
}

impl Request<'_> {
    /// Asks until there is an answer that waiting would not change.
    async fn send(&self, known: Option<&Known>) -> Result<Response, RemoteError> {
        let mut attempt = 1;
        loop {
            let mut request = self.client.of(self.url)?.get(self.url.clone());
            for (name, _, condition) in VALIDATORS {
                if let Some(value) = known.and_then(|known| known.record.data.get(name)) {
                    request = request.header(condition, value);
                    // The time counts only where there is no tag.
                    break;
                }
            }
            match request.send().await {
                Ok(response) if attempt < ATTEMPTS && matches!(response.status().as_u16(), 429 | 502..=504) => {
                    tracing::debug!(url = self.shown, attempt, status = %response.status(), "trying again");
                }
                Ok(response) => return Ok(response),
                Err(error) if attempt < ATTEMPTS && error.is_timeout() => {
                    tracing::debug!(url = self.shown, attempt, error = causes(&error), "trying again");
                }
                Err(error) => {
                    return Err(RemoteError::Unreachable { url: self.shown.to_owned(), reason: causes(&error) });
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(250) * attempt).await;
            attempt += 1;
        }
    }
}

/// Takes the body into a layer, and returns its digest.
async fn receive(
    store: &Store,
    mut response: Response,
    file: &str,
    shown: &str,
    checksum: Option<&str>,
) -> Result<(Layer, String), RemoteError> {
    let size = response.content_length();
    if size.is_some_and(|size| size > LIMIT) {
        return Err(RemoteError::TooLarge { url: shown.to_owned(), limit: LIMIT });
    }
    if size.is_some_and(|size| size > free(store)) {
        return Err(RemoteError::Full { url: shown.to_owned(), size });
    }
    let mtime = text(response.headers(), &LAST_MODIFIED).and_then(time).unwrap_or(0);
    let (writer, body) = body::pipe();
    let keeping = blocking({
        let (store, shown, checksum) = (store.clone(), shown.to_owned(), checksum.map(str::to_owned));
        let file = file.to_owned();
        move || keep(&store, body, (&file, mtime), &shown, checksum.as_deref())
    });
    let feeding = async {
        let mut received = 0;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => {
                    received += piece.len() as u64;
                    if received > LIMIT {
                        return Err(RemoteError::TooLarge { url: shown.to_owned(), limit: LIMIT });
                    }
                    if !writer.write(Vec::from(piece)).await {
                        // The other side says why.
                        return Ok(());
                    }
                }
                Ok(None) => {
                    writer.end().await;
                    return Ok(());
                }
                Err(error) => {
                    let reason = causes(&error);
                    return Err(RemoteError::CutOff { url: shown.to_owned(), received, reason });
                }
            }
        }
    };
    // Where the body breaks off, the writer is dropped with it and the other side ends too.
    let (fed, kept) = tokio::join!(feeding, keeping);
    fed?;
    kept
}

/// Bytes that the store's file system has to spare.
fn free(store: &Store) -> u64 {
    match rustix::fs::statvfs(store.root()) {
        Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
        Err(_) => u64::MAX,
    }
}

fn keep(
    store: &Store,
    mut body: Body,
    (name, mtime): (&str, i64),
    shown: &str,
    checksum: Option<&str>,
) -> Result<(Layer, String), RemoteError> {
    let failed = |source| RemoteError::keep(shown, source);
    let pending = store.new_layer()?;
    let file = pending.file().try_clone()?;
    let mut writer = Writer::create(file, Options::default()).map_err(failed)?;
    // The Dockerfile reference: a file from a URL has mode 600.
    let metadata = Metadata { mode: 0o600, mtime, ..Metadata::default() };
    writer.add_file(name.as_bytes(), &metadata, &mut body).map_err(failed)?;
    let digest = body.digest();
    check(shown, checksum, &digest)?;
    let summary = writer.finish().map_err(failed)?;
    Ok((pending.publish(&summary)?, digest))
}

fn check(shown: &str, checksum: Option<&str>, found: &str) -> Result<(), RemoteError> {
    match checksum {
        Some(expected) if expected != found => {
            Err(RemoteError::Checksum { url: shown.to_owned(), expected: expected.to_owned(), found: found.to_owned() })
        }
        _ => Ok(()),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim).filter(|value| !value.is_empty())
}

/// The last part of the URL's path; the query does not count.
fn url_name(url: &Url) -> Option<String> {
    base_name(&percent_decoded(url.path()))
}

/// The `filename` of a `Content-Disposition`.
fn file_name(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, &CONTENT_DISPOSITION)?;
    let mut parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let (_, name) = parameters.find(|(key, _)| key.trim().eq_ignore_ascii_case("filename"))?;
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name).replace("\\\"", "\"");
    if name.ends_with('/') { None } else { base_name(&name) }
}

/// The last part of a path, if a file can have that name.
fn base_name(path: &str) -> Option<String> {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_name = !matches!(name, "" | "." | "..") && !name.contains('\0') && name.len() <= 255;
    is_name.then(|| name.to_owned())
}

/// A time in one of the three forms of RFC 9110, section 5.6.7, in seconds since 1970.
fn time(text: &str) -> Option<i64> {
    use jiff::{civil::DateTime, tz::TimeZone};
    let forms = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let time = forms.iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_forms() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(time(text), Some(784_111_777), "{text}");
        }
        for text in ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_is_called_as_in_the_path_of_its_url() {
        for (url, name) in [
            ("http://h/a/b.txt?x=/y#z", Some("b.txt")),
            ("http://h/a/b/", Some("b")),
            ("http://h/a%20b", Some("a b")),
            ("http://h/a%2Fb", Some("b")),
            ("http://h/x%00y", None),
            ("http://h/", None),
            ("http://h", None),
        ] {
            assert_eq!(url_name(&Url::parse(url).unwrap()).as_deref(), name, "{url}");
        }
    }

    #[test]
    fn a_disposition_names_a_file_and_no_path() {
        for (value, name) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; filename=a.txt", Some("a.txt")),
            ("attachment; FileName = a", Some("a")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"a/\"", None),
            ("attachment; filename=\"..\"", None),
            ("inline", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_DISPOSITION, value.parse().unwrap())]);
            assert_eq!(file_name(&headers).as_deref(), name, "{value}");
        }
    }

    #[test]
    fn no_password_is_in_a_key() {
        let with = key(&Url::parse("http://u:secret@h/x").unwrap());
        assert_eq!(with, key(&Url::parse("http://h/x").unwrap()));
    }
}
