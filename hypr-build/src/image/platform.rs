//! Platforms, as in `--platform=linux/arm64/v8` and in the indexes of multi-platform images.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An operating system and a processor in Go's words, normalised: `linux/x86_64` is `linux/amd64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

/// The text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform {text:?}: {reason}; the form is os/architecture[/variant], such as linux/amd64")]
pub struct InvalidPlatform {
    text: String,
    reason: &'static str,
}

impl Platform {
    /// The platform that hypr runs on.
    pub fn host() -> Self {
        Self::from_parts(std::env::consts::OS, std::env::consts::ARCH, "")
    }

    /// A platform of these parts, normalised and otherwise unchecked: for documents, where any of them may be empty.
    pub fn from_parts(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let (architecture, variant) = normalise(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Self { os, architecture, variant }
    }

    /// The operating system: `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The processor: `amd64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant of the processor: `v7`. The usual variant of an architecture is none.
    pub fn variant(&self) -> Option<&str> {
        Some(self.variant.as_str()).filter(|variant| !variant.is_empty())
    }

    /// How well a program for `other` runs on this platform: 0 is a perfect fit, `None` is not at all.
    pub fn fit(&self, other: &Self) -> Option<u32> {
        if self.os != other.os {
            return None;
        }
        if (&self.architecture, &self.variant) == (&other.architecture, &other.variant) {
            return Some(0);
        }
        // A processor of a later variant runs the programs of an earlier one, and some run those of their forebears.
        let rank = |platform: &Self| variant_rank(&platform.architecture, &platform.variant);
        match (self.architecture.as_str(), other.architecture.as_str()) {
            (mine, theirs) if mine == theirs => rank(self)?.checked_sub(rank(other)?),
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => 8_u32.checked_sub(rank(other)?).map(|distance| 100 + distance),
            _ => None,
        }
    }
}

/// The names of processors that have several, and variants that are the usual one.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        ("powerpc64le", variant) => ("ppc64le", variant),
        ("loongarch64", variant) => ("loong64", variant),
        same => same,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// Orders the variants of an architecture.
fn variant_rank(architecture: &str, variant: &str) -> Option<u32> {
    match (architecture, variant) {
        ("amd64", "") => Some(1),
        ("arm64", "") => Some(8),
        (_, variant) => variant.strip_prefix('v')?.split('.').next()?.parse().ok(),
    }
}

fn or_unknown(part: &str) -> &str {
    if part.is_empty() { "unknown" } else { part }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", or_unknown(&self.os), or_unknown(&self.architecture))?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        let invalid = |reason| InvalidPlatform { text: text.chars().take(100).collect(), reason };
        let parts: Vec<_> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(invalid("a part is empty"));
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if !text.chars().all(|c| is_word(c) || c == '/') {
            return Err(invalid("only letters, digits, '.', '_' and '-' make a part"));
        }
        match *parts {
            // One word is the one or the other; what hypr runs on fills in the rest.
            [os @ ("linux" | "windows" | "darwin" | "freebsd")] => Ok(Self::from_parts(os, std::env::consts::ARCH, "")),
            [architecture] if KNOWN.contains(&Self::from_parts("", architecture, "").architecture()) => {
                Ok(Self::from_parts(std::env::consts::OS, architecture, ""))
            }
            [_] => Err(invalid("neither an operating system nor an architecture")),
            [os, architecture] => Ok(Self::from_parts(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::from_parts(os, architecture, variant)),
            _ => Err(invalid("more than three parts")),
        }
    }
}

/// The architectures that may stand alone.
const KNOWN: [&str; 12] =
    ["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"];

impl Serialize for Platform {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Platform {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("riscv64", "linux/riscv64"),
        ] {
            let platform: Platform = text.parse().unwrap();
            assert_eq!(platform.to_string(), expected, "{text}");
            assert_eq!(expected.parse(), Ok(platform), "{text}");
        }
    }

    #[test]
    fn bad_platforms_say_why() {
        for (text, reason) in [
            ("", "empty"),
            ("linux/", "empty"),
            ("linux//v7", "empty"),
            ("a/b/c/d", "more than three"),
            ("nonsense", "neither"),
            ("linux/am d64", "only letters"),
        ] {
            let error = text.parse::<Platform>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn later_variants_run_earlier_ones_and_prefer_the_nearest() {
        let fit =
            |mine: &str, theirs: &str| mine.parse::<Platform>().unwrap().fit(&theirs.parse::<Platform>().unwrap());
        assert_eq!(fit("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(fit("linux/amd64", "linux/amd64/v2"), None);
        assert_eq!(fit("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(fit("linux/amd64/v3", "linux/amd64/v2"), Some(1));
        assert_eq!(fit("linux/amd64", "linux/arm64"), None);
        assert_eq!(fit("linux/amd64", "windows/amd64"), None);
        assert_eq!(fit("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert!(fit("linux/arm64", "linux/arm/v7") < fit("linux/arm64", "linux/arm/v6"));
        assert!(fit("linux/amd64", "linux/386").is_some());
    }
}
