//! `EXPOSE`: ports, ranges and protocols (Dockerfile reference, "EXPOSE").

use std::{net::IpAddr, ops::RangeInclusive};

/// One word of `EXPOSE`, such as `80`, `80/udp` or `8000-8010`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    protocol: String,
    /// An address or a port of the host was written before them, which an image has no use for.
    pub(crate) names_host: bool,
    /// The protocol has capitals.
    pub(crate) capitals: bool,
}

impl Ports {
    /// Takes what docker's own flag takes, a host part before a colon included; `None` for what is no port.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        let (host, ports) = word.rsplit_once(':').map_or((None, word), |(host, ports)| (Some(host), ports));
        let (ports, written) = ports.split_once('/').unwrap_or((ports, ""));
        let protocol = if written.is_empty() { "tcp".to_owned() } else { written.to_ascii_lowercase() };
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") || !host.is_none_or(is_host) {
            return None;
        }
        let capitals = written.contains(|char: char| char.is_ascii_uppercase());
        Some(Self { range: range(ports)?, protocol, names_host: host.is_some(), capitals })
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.range.len()
    }

    /// `PORT/PROTOCOL` for each.
    pub(crate) fn entries(&self) -> impl Iterator<Item = String> {
        self.range.clone().map(|port| format!("{port}/{}", self.protocol))
    }
}

/// `[ADDRESS:]PORT`; the port may be missing or a range.
fn is_host(host: &str) -> bool {
    let (address, port) = host.rsplit_once(':').unwrap_or(("", host));
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    (address.is_empty() || address.parse::<IpAddr>().is_ok()) && (port.is_empty() || range(port).is_some())
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

fn port(text: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_protocols() {
        for (word, entries) in [
            ("80", Some(vec!["80/tcp"])),
            ("80/", Some(vec!["80/tcp"])),
            ("53/UDP", Some(vec!["53/udp"])),
            ("7000-7002/sctp", Some(vec!["7000/sctp", "7001/sctp", "7002/sctp"])),
            ("127.0.0.1:8080:80", Some(vec!["80/tcp"])),
            ("[::1]:8080:80", Some(vec!["80/tcp"])),
            ("::80", Some(vec!["80/tcp"])),
            ("8000-9000:80", Some(vec!["80/tcp"])),
            ("x:80", None),
            ("300.1.1.1:1:80", None),
            ("9-8", None),
            ("1-2-3", None),
            ("65536", None),
            ("+80", None),
            ("80/icmp", None),
            ("http", None),
            ("", None),
        ] {
            let entries = entries.map(|entries| entries.into_iter().map(str::to_owned).collect::<Vec<_>>());
            let found = Ports::parse(word).map(|ports| ports.entries().collect::<Vec<_>>());
            assert_eq!(found, entries, "EXPOSE {word}");
        }
    }

    #[test]
    fn what_deserves_a_warning_is_noticed() {
        for (word, names_host, capitals) in
            [("80", false, false), ("80/TcP", false, true), ("80:80", true, false), ("1.2.3.4:80:80/UDP", true, true)]
        {
            let ports = Ports::parse(word).unwrap();
            assert_eq!((ports.names_host, ports.capitals), (names_host, capitals), "EXPOSE {word}");
        }
    }
}
