//! The SHA-256 digest that registries and OCI documents name their content by.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

const PREFIX: &str = "sha256:";

/// A SHA-256 digest, shown and stored as `sha256:` and 64 lower-case hexadecimal digits.
///
/// What hypr itself makes is named by the BLAKE3 [`Digest`](crate::Digest); this one is for what comes from or goes to
/// the world of OCI: configurations, manifests, layer blobs, diff ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest([u8; 32]);

impl Sha256Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The raw 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 digits without the algorithm, which is how a blob's file is called.
    pub fn hex(&self) -> String {
        let mut text = self.to_string();
        text.split_off(PREFIX.len())
    }
}

impl From<[u8; 32]> for Sha256Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256Digest({self})")
    }
}

/// The text is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSha256 {
    /// A well-known algorithm that hypr does not store content by.
    #[error("digest algorithm {0:?} is not supported, only sha256 is")]
    Algorithm(String),
    /// Not a digest at all.
    #[error("not a digest of the form sha256:<64 hexadecimal digits>: {0:?}")]
    Form(String),
}

impl FromStr for Sha256Digest {
    type Err = InvalidSha256;

    fn from_str(text: &str) -> Result<Self, InvalidSha256> {
        let form = || InvalidSha256::Form(text.chars().take(100).collect());
        let Some(hex) = text.strip_prefix(PREFIX) else {
            return match text.split_once(':') {
                Some((algorithm @ ("sha384" | "sha512" | "blake3"), _)) => {
                    Err(InvalidSha256::Algorithm(algorithm.to_owned()))
                }
                _ => Err(form()),
            };
        };
        let mut bytes = [0; 32];
        if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(form());
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self(bytes))
    }
}

fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.wrapping_sub(b'a') + 10,
    }
}

impl Serialize for Sha256Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_has_one_spelling() {
        let digest = Sha256Digest::of(b"");
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(digest.hex(), text[7..]);
        for bad in ["", "sha256:", "sha256:E3", &text.to_uppercase(), &text[..70], &text.replace('e', "E"), "../../etc"]
        {
            assert!(matches!(bad.parse::<Sha256Digest>(), Err(InvalidSha256::Form(_))), "{bad:?}");
        }
        assert_eq!("sha512:00".parse::<Sha256Digest>(), Err(InvalidSha256::Algorithm("sha512".into())));
    }
}
