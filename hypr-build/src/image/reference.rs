//! Names of images: `[domain/]path[:tag][@digest]`, with Docker's short forms.
//!
//! `debian` is `docker.io/library/debian:latest`. The first part of a path is a domain if it looks like one: it has a
//! dot, a port or an upper-case letter, or it is `localhost`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const HUB: &str = "docker.io";
const LEGACY_HUB: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const PATH_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The name of an image, with every default filled in but the tag of a name that has a digest.
///
/// [`Display`](fmt::Display) gives the canonical form, [`familiar`](Self::familiar) the one that people write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The text is not the name of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid image name {text:?}: {reason}")]
pub struct InvalidReference {
    text: String,
    reason: String,
}

impl Reference {
    /// The registry: `docker.io`, `127.0.0.1:5000`, `[::1]:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The registry's host without port and brackets.
    pub fn host(&self) -> &str {
        match self.domain.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or(rest),
            None => self.domain.split(':').next().unwrap_or(&self.domain),
        }
    }

    /// The repository in its registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Domain and path: `docker.io/library/debian`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The tag. `None` only if there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest with its algorithm: `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// What to ask the registry for: the digest if there is one, or else the tag.
    pub fn tag_or_digest(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or(DEFAULT_TAG)
    }

    /// The shortest form that means the same: `debian:latest`.
    pub fn familiar(&self) -> String {
        let name = if self.domain == HUB {
            match self.path.strip_prefix(OFFICIAL) {
                // What would be taken for a domain keeps its own, and of two levels both stay.
                Some(rest) if !rest.contains('/') => rest.to_owned(),
                _ => self.path.clone(),
            }
        } else {
            self.name()
        };
        name + &self.suffix()
    }

    fn suffix(&self) -> String {
        let part = |sign, text: &Option<String>| text.as_ref().map(|text| format!("{sign}{text}")).unwrap_or_default();
        part(":", &self.tag) + &part("@", &self.digest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        parse(text).map_err(|reason| InvalidReference { text: text.chars().take(300).collect(), reason })
    }
}

/// `reference = name [":" tag] ["@" digest]`
fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("the name is empty".to_owned());
    }
    if let Some(c) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("it holds {c:?}"));
    }
    if text.len() == 64 && is_lower_hex(text) {
        return Err("64 hexadecimal digits cannot be a name; an id is written sha256:<id>".to_owned());
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let (domain, rest) = split_domain(rest);
    // A port is in the domain, so what is left of a colon is the tag.
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    let domain = match domain {
        None | Some(LEGACY_HUB) => HUB,
        Some(domain) => check_domain(domain).map(|()| domain)?,
    };
    check_path(path)?;
    tag.map_or(Ok(()), check_tag)?;
    digest.map_or(Ok(()), check_digest)?;
    let path = if domain == HUB && !path.contains('/') { format!("{OFFICIAL}{path}") } else { path.to_owned() };
    if path.len() > PATH_MAX {
        return Err(format!("the repository's name is longer than {PATH_MAX} characters"));
    }
    let tag = tag.or(digest.is_none().then_some(DEFAULT_TAG));
    Ok(Reference { domain: domain.to_owned(), path, tag: tag.map(Into::into), digest: digest.map(Into::into) })
}

fn split_domain(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    }
}

/// `domain = (domain-name | IPv4 | "[" IPv6 "]") [":" port]`
fn check_domain(domain: &str) -> Result<(), String> {
    let invalid = || format!("{domain:?} is not the host of a registry");
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or_else(invalid)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| invalid())?;
            ("", port)
        }
        None => domain.split_at(domain.find(':').unwrap_or(domain.len())),
    };
    let is_component = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    if !domain.starts_with('[') && !host.split('.').all(is_component) {
        return Err(invalid());
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|n| n > 0) => {
            Ok(())
        }
        _ => Err(format!("{domain:?} has a port that is not a number from 1 to 65535")),
    }
}

/// `path = component *("/" component)`, `component = alnum *(separator alnum)`, `separator = "." | "_" | "__" | 1*"-"`
fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("the repository's name is empty".to_owned());
    }
    if let Some(c) = path.chars().find(char::is_ascii_uppercase) {
        return Err(format!("the repository {path:?} must be lower case, not {c:?}"));
    }
    path.split('/').try_for_each(|component| {
        let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if component.is_empty() {
            return Err(format!("the repository {path:?} has an empty part"));
        }
        if let Some(c) = component.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            return Err(format!("{c:?} cannot be in the repository {path:?}"));
        }
        let mut separators = component.split(|c: char| is_word(c as u8)).filter(|text| !text.is_empty());
        let is_bounded = component.bytes().next().is_some_and(is_word) && component.bytes().last().is_some_and(is_word);
        let is_separator = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
        if is_bounded && separators.all(is_separator) {
            Ok(())
        } else {
            Err(format!("{component:?} is not letters and digits separated by one of '.', '_', '__', '-'"))
        }
    })
}

/// `tag = (word | "_") *127(word | "_" | "." | "-")`
fn check_tag(tag: &str) -> Result<(), String> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if tag.is_empty() {
        return Err("the tag is empty".to_owned());
    }
    if tag.len() > TAG_MAX {
        return Err(format!("the tag is longer than {TAG_MAX} characters"));
    }
    if !tag.bytes().next().is_some_and(is_word) || !tag.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-')) {
        return Err(format!(
            "the tag {tag:?} is not letters, digits, '_', '.' and '-' beginning with a letter, a digit or '_'"
        ));
    }
    Ok(())
}

/// `digest = algorithm ":" hex`, of the algorithms that OCI registers for names.
fn check_digest(digest: &str) -> Result<(), String> {
    let invalid = |what: &str| format!("the digest {digest:?} {what}");
    let (algorithm, hex) = digest.split_once(':').ok_or_else(|| invalid("has no algorithm"))?;
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(invalid("is of an unknown algorithm")),
    };
    if hex.len() != digits {
        return Err(invalid(&format!("has {} digits, not {digits}", hex.len())));
    }
    if is_lower_hex(hex) { Ok(()) } else { Err(invalid("is not made of lower-case hexadecimal digits")) }
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_forms_are_completed_and_shortened_again() {
        for (text, canonical, familiar) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("ghcr.io/a/b:v1", "ghcr.io/a/b:v1", "ghcr.io/a/b:v1"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
            ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
            ("[::1]:5000/a:1", "[::1]:5000/a:1", "[::1]:5000/a:1"),
            ("[fd00::1]/a", "[fd00::1]/a:latest", "[fd00::1]/a:latest"),
            ("Foo/bar", "Foo/bar:latest", "Foo/bar:latest"),
            ("a__b/c-d/e---f.g_h:_T.-x", "docker.io/a__b/c-d/e---f.g_h:_T.-x", "a__b/c-d/e---f.g_h:_T.-x"),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (canonical, familiar),
                "{text}"
            );
            assert_eq!(canonical.parse(), Ok(reference.clone()), "{text}");
            assert_eq!(familiar.parse(), Ok(reference), "{text}");
        }
    }

    #[test]
    fn digest_takes_the_place_of_the_default_tag() {
        let reference: Reference = format!("debian@{SHA}").parse().unwrap();
        assert_eq!((reference.tag(), reference.digest(), reference.tag_or_digest()), (None, Some(SHA), SHA));
        let reference: Reference = format!("localhost:1/debian:12@{SHA}").parse().unwrap();
        assert_eq!((reference.tag(), reference.tag_or_digest()), (Some("12"), SHA));
        assert_eq!(reference.to_string(), format!("localhost:1/debian:12@{SHA}"));
    }

    #[test]
    fn host_is_without_port_and_brackets() {
        for (text, host) in [("[::1]:5000/a", "::1"), ("127.0.0.1:5000/a", "127.0.0.1"), ("a", "docker.io")] {
            assert_eq!(text.parse::<Reference>().unwrap().host(), host, "{text}");
        }
    }

    #[test]
    fn errors_name_the_bad_part() {
        for (text, part) in [
            ("", "empty"),
            ("app:", "tag is empty"),
            ("app:-x", "tag \"-x\""),
            ("app:a b", "' '"),
            ("app:a/b", "port"),
            ("App", "lower case"),
            ("example.com/App:1", "\"App\""),
            ("a//b", "empty part"),
            ("/a", "empty part"),
            ("a/", "empty part"),
            ("example.com/", "name is empty"),
            ("a..b", "\"a..b\""),
            ("a___b", "\"a___b\""),
            ("-a", "\"-a\""),
            ("a-", "\"a-\""),
            ("../../etc", "\"..\""),
            ("a/../b", "\"..\""),
            ("é", "'é'"),
            ("a$b", "'$'"),
            ("https://example.com/a", "\"https:\""),
            ("example.com:0/a", "port"),
            ("example.com:99999/a", "port"),
            ("example.com:x/a", "port"),
            ("[::1/a", "host"),
            ("[zz]:1/a", "host"),
            ("-x.com/a", "host"),
            ("a@sha256:12", "2 digits"),
            ("a@md5:d41d8cd98f00b204e9800998ecf8427e", "algorithm"),
            ("a@x", "no algorithm"),
            ("a@", "no algorithm"),
            (&format!("a@{}", SHA.replace('e', "E")), "lower-case"),
            (&SHA[7..], "64 hexadecimal"),
            (&format!("app:{}", "x".repeat(129)), "longer than 128"),
            (&"x".repeat(256), "longer than 255"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_what_parses_round_trips(text in "[a-zA-Z0-9:@/._\\[\\]é-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                proptest::prop_assert_eq!(reference.to_string().parse(), Ok(reference.clone()));
                proptest::prop_assert_eq!(reference.familiar().parse(), Ok(reference));
            }
        }
    }
}
