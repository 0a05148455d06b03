//! Who hypr is to a registry: Docker's configuration file and credential helpers.

use std::{
    collections::HashMap,
    fmt,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use crate::image::{ImageError, source::blocking};

/// Bytes that the configuration, or the answer of a helper, may have.
const LIMIT: u64 = 4 << 20;

/// Where credentials are looked up. They are read when a registry asks for them and neither kept nor logged.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    config: Option<PathBuf>,
}

/// What proves who somebody is.
pub(super) enum Login {
    Password {
        user: String,
        password: String,
    },
    /// To be traded for tokens.
    IdentityToken(String),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(..)")
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: HashMap<String, Entry>,
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// None: every registry is asked anonymously.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    pub fn from_environment() -> Self {
        let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = folder("DOCKER_CONFIG").or_else(|| Some(folder("HOME")?.join(".docker")));
        Self { config: folder.map(|folder| folder.join("config.json")) }
    }

    /// Those of a file of the form of Docker's `config.json`.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { config: Some(path.into()) }
    }

    /// The credentials for a registry, if there are any.
    pub(super) async fn login(&self, domain: &str) -> Result<Option<Login>, ImageError> {
        let Some(path) = self.config.clone() else { return Ok(None) };
        let registry = domain.to_owned();
        blocking(move || {
            let failed = |reason| ImageError::Credentials { registry: registry.clone(), reason };
            let Some(config) = read(&path).map_err(failed)? else { return Ok(None) };
            find(&config, &registry).map_err(failed)
        })
        .await?
    }
}

fn read(path: &Path) -> Result<Option<DockerConfig>, String> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    // The position only: the message of an unexpected type would quote the value.
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| format!("{} is malformed at line {}", path.display(), error.line()))
}

fn find(config: &DockerConfig, registry: &str) -> Result<Option<Login>, String> {
    let keys = keys(registry);
    if let Some(helper) = keys.iter().find_map(|key| config.cred_helpers.get(key)) {
        return ask(helper, &keys[0]);
    }
    if let Some(helper) = config.creds_store.as_deref().filter(|helper| !helper.is_empty())
        && let Some(login) = ask(helper, &keys[0])?
    {
        return Ok(Some(login));
    }
    let exact = keys.iter().find_map(|key| config.auths.get(key));
    let entry = exact.or_else(|| {
        // Keys may be addresses: https://host/v1/.
        config.auths.iter().find(|(key, _)| keys.iter().any(|wanted| host(key) == host(wanted))).map(|(_, entry)| entry)
    });
    entry.map_or(Ok(None), login_of)
}

/// The names that a registry goes by in the configuration.
fn keys(registry: &str) -> Vec<String> {
    match registry {
        "docker.io" => ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"].map(str::to_owned).into(),
        registry => vec![registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")],
    }
}

fn host(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    key.split('/').next().unwrap_or(key)
}

fn login_of(entry: &Entry) -> Result<Option<Login>, String> {
    if let Some(token) = entry.identitytoken.as_ref().filter(|token| !token.is_empty()) {
        return Ok(Some(Login::IdentityToken(token.clone())));
    }
    if let Some(auth) = entry.auth.as_ref().filter(|auth| !auth.is_empty()) {
        let text = decode(auth).and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or("the entry `auth` in the docker configuration is not the base64 of user:password".to_owned())?;
        let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
        return Ok(Some(Login::Password { user, password }));
    }
    match (&entry.username, &entry.password) {
        (Some(user), Some(password)) if !user.is_empty() => {
            Ok(Some(Login::Password { user: user.clone(), password: password.clone() }))
        }
        _ => Ok(None),
    }
}

/// Runs `docker-credential-<helper> get`, which reads the registry's name and writes JSON.
fn ask(helper: &str, registry: &str) -> Result<Option<Login>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        #[serde(default)]
        username: String,
        #[serde(default)]
        secret: String,
    }
    if helper.is_empty() || !helper.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Err(format!("the credential helper {helper:?} has no valid name"));
    }
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("cannot run {program}: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read says what it has to say on the other side.
        let _ = stdin.write_all(registry.as_bytes());
    }
    let mut output = Vec::new();
    let read = child.stdout.take().map_or(Ok(0), |stdout| stdout.take(LIMIT).read_to_end(&mut output));
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    if !status.success() {
        let text = String::from_utf8_lossy(&output);
        // The words by which helpers tell that from a failure.
        return match text.contains("credentials not found") {
            true => Ok(None),
            false => Err(format!("{program} ended with {status}")),
        };
    }
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| format!("{program} gave no valid answer"))?;
    Ok(match answer {
        Answer { secret, .. } if secret.is_empty() => None,
        Answer { username, secret } if username == "<token>" => Some(Login::IdentityToken(secret)),
        Answer { username, secret } => Some(Login::Password { user: username, password: secret }),
    })
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, RFC 4648, section 4.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = (group >> (18 - 6 * at)) as usize & 63;
            text.push(if at > chunk.len() { '=' } else { char::from(ALPHABET[digit]) });
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().trim_end_matches('=').bytes();
    let (mut group, mut bits, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits {
        let value = ALPHABET.iter().position(|known| *known == digit)?;
        group = group << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(group.checked_shr(bits)?.to_le_bytes()[0]);
            group &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> DockerConfig {
        serde_json::from_str(text).unwrap()
    }

    fn password(config: &DockerConfig, registry: &str) -> Option<(String, String)> {
        match find(config, registry).unwrap()? {
            Login::Password { user, password } => Some((user, password)),
            Login::IdentityToken(token) => Some(("<token>".into(), token)),
        }
    }

    #[test]
    fn base64_round_trips() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(decode("a b"), None);
    }

    #[test]
    fn registries_are_found_under_all_their_names() {
        let config = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dTpwOnc="},"https://a.example/v2/":{"username":"x",
            "password":"y"},"127.0.0.1:5000":{"identitytoken":"t"},"empty.example":{}}}"#,
        );
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(password(&config, "docker.io"), pair("u", "p:w"));
        assert_eq!(password(&config, "a.example"), pair("x", "y"));
        assert_eq!(password(&config, "127.0.0.1:5000"), pair("<token>", "t"));
        assert_eq!(password(&config, "empty.example"), None);
        assert_eq!(password(&config, "127.0.0.1:5001"), None);
    }

    #[test]
    fn errors_and_debug_hold_no_secret() {
        let broken = config(r#"{"auths":{"a.example":{"auth":"hunter2!"}}}"#);
        let error = find(&broken, "a.example").unwrap_err();
        assert!(error.contains("base64") && !error.contains("hunter2"));
        let login = Login::Password { user: "u".into(), password: "hunter2".into() };
        assert_eq!(format!("{login:?}"), "Login(..)");
        let helper = config(r#"{"credsStore":"../../bin/sh"}"#);
        assert!(find(&helper, "a.example").unwrap_err().contains("no valid name"));
        let missing = config(r#"{"credHelpers":{"a.example":"hypr-no-such-helper"}}"#);
        assert!(find(&missing, "a.example").unwrap_err().contains("docker-credential-hypr-no-such-helper"));
    }
}
