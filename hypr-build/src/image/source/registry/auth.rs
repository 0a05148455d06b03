//! Answers to a registry that asks who is there: `WWW-Authenticate: Bearer realm="…",service="…",scope="…"` or `Basic`.

use reqwest::{
    Url,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::{
    client::{RegistryClient, message, read_bounded},
    credentials::Login,
};
use crate::{
    http,
    image::{ImageError, Reference},
};

/// Bytes that the answer of a token server may have.
const TOKEN_LIMIT: u64 = 1 << 20;

/// The `Authorization` header that answers one of `challenges`, or `None` if hypr has nothing to say.
pub(super) async fn answer(
    client: &RegistryClient,
    reference: &Reference,
    challenges: &[&str],
) -> Result<Option<HeaderValue>, ImageError> {
    let challenges: Vec<_> = challenges.iter().flat_map(|text| parse(text)).collect();
    let scheme = |name: &str| challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(name));
    if let Some(challenge) = scheme("bearer") {
        let login = client.credentials().login(reference.domain()).await?;
        return token(client, reference, challenge, login).await.map(Some);
    }
    if scheme("basic").is_some() {
        return match client.credentials().login(reference.domain()).await? {
            Some(Login::Password { user, password }) => {
                let text = super::credentials::encode(format!("{user}:{password}").as_bytes());
                Ok(secret(&format!("Basic {text}")))
            }
            _ => Ok(None),
        };
    }
    Ok(None)
}

/// Gets a token for pulling from the repository.
async fn token(
    client: &RegistryClient,
    reference: &Reference,
    challenge: &Challenge,
    login: Option<Login>,
) -> Result<HeaderValue, ImageError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
    }
    let refused = |reason: String| ImageError::Unauthorized {
        image: reference.to_string(),
        registry: reference.domain().to_owned(),
        reason,
    };
    let realm = challenge.get("realm").unwrap_or_default();
    let mut url = Url::parse(realm).map_err(|_| refused("it names no token server".to_owned()))?;
    let scope = format!("repository:{}:pull", reference.path());
    let service = challenge.get("service");
    let http = client.client_for(&url)?.clone();
    let request = match login {
        Some(Login::IdentityToken(token)) => {
            let mut form = url.clone();
            let mut pairs = form.query_pairs_mut();
            pairs.clear().append_pair("grant_type", "refresh_token").append_pair("refresh_token", &token);
            pairs.append_pair("client_id", "hypr").append_pair("scope", &scope);
            if let Some(service) = service {
                pairs.append_pair("service", service);
            }
            drop(pairs);
            let body = form.query().unwrap_or_default().to_owned();
            http.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
        }
        login => {
            {
                let mut pairs = url.query_pairs_mut();
                if let Some(service) = service {
                    pairs.append_pair("service", service);
                }
                pairs.append_pair("scope", &scope);
            }
            let request = http.get(url);
            match login {
                Some(Login::Password { user, password }) => request.basic_auth(user, Some(password)),
                _ => request,
            }
        }
    };
    let response = request.send().await.map_err(|error| {
        // Without its address, in which there may be a token.
        refused(format!("its token server cannot be reached: {}", http::causes(&error.without_url())))
    })?;
    let status = response.status();
    if !status.is_success() {
        let message = message(response).await;
        let message = if message.is_empty() { status.to_string() } else { message };
        return Err(refused(format!("its token server says: {message}")));
    }
    let unusable = || refused("its token server gives no usable token".to_owned());
    let bytes = read_bounded(response, TOKEN_LIMIT).await.ok().flatten().ok_or_else(unusable)?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|_| unusable())?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty()).ok_or_else(unusable)?;
    // A token with a line break in it would be a header of the server's choice.
    secret(&format!("Bearer {token}")).ok_or_else(unusable)
}

fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// `challenges = 1#(scheme [1*SP 1#(token "=" (token | quoted-string))])`, RFC 9110, 11.6.1. Stops at what does not fit.
fn parse(text: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = text.trim_start_matches([' ', ',', '\t']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        rest = match after.strip_prefix('=') {
            // A parameter of the challenge before.
            Some(value) => {
                let Some((value, after)) = parameter(value) else { break };
                let Some(challenge) = challenges.last_mut() else { break };
                challenge.parameters.push((word.to_owned(), value));
                after
            }
            None => {
                challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
                after
            }
        }
        .trim_start_matches([' ', ',', '\t']);
    }
    challenges
}

fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_taken_apart() {
        let found =
            parse(r#"Bearer realm="https://a.b/t?x=1,2",service="s \"q\"",scope="repository:a:pull", Basic realm=x"#);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].get("Realm"), Some("https://a.b/t?x=1,2"));
        assert_eq!(found[0].get("service"), Some("s \"q\""));
        assert_eq!((found[1].scheme.as_str(), found[1].get("realm")), ("Basic", Some("x")));
        assert_eq!(parse("basic").len(), 1);
        for odd in ["", ",,", "=x", "Bearer realm=\"open", "Bearer =", "\u{e9}"] {
            assert!(parse(odd).iter().all(|challenge| challenge.get("realm").is_none()), "{odd}");
        }
    }

    #[test]
    fn token_with_a_line_break_is_no_header() {
        assert!(secret("Bearer a\r\nX: y").is_none());
        assert!(format!("{:?}", secret("Bearer abc")).contains("Sensitive"));
    }
}
