//! `EXPOSE`: ports, ranges and protocols (Dockerfile reference, "EXPOSE").

/// Expands one word of `EXPOSE` to `PORT/PROTOCOL` entries; `None` when it is not a port.
///
/// Takes what docker's own flag takes: `80`, `80/udp`, `8000-8010/tcp`, and a host part before a colon, which an image
/// has no use for.
pub(crate) fn expand(word: &str) -> Option<Vec<String>> {
    let (ports, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then(|| (first..=last).map(|port| format!("{port}/{protocol}")).collect())
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
            ("53/UDP", Some(vec!["53/udp"])),
            ("7000-7002/sctp", Some(vec!["7000/sctp", "7001/sctp", "7002/sctp"])),
            ("127.0.0.1:8080:80", Some(vec!["80/tcp"])),
            ("9-8", None),
            ("65536", None),
            ("+80", None),
            ("80/icmp", None),
            ("http", None),
            ("", None),
        ] {
            let entries = entries.map(|entries| entries.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(expand(word), entries, "EXPOSE {word}");
        }
    }
}
