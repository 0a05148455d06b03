//! How instructions look in the history of an image: as docker writes them, because that is what its readers know.

use crate::image::Healthcheck;

/// What docker leaves behind an instruction that was carried out and not only noted.
pub(crate) const CARRIED_OUT: &str = " # buildkit";

/// The comment of each entry: by it readers know the notation of the others.
pub(crate) const COMMENT: &str = "buildkit.dockerfile.v0";

/// `["a" "b"]`: the arguments of `CMD` and `ENTRYPOINT`.
pub(crate) fn quoted(args: &[String]) -> String {
    let args: Vec<String> = args.iter().map(|arg| quote(arg)).collect();
    format!("[{}]", args.join(" "))
}

/// `[a b]`: the arguments of `VOLUME`, `SHELL` and `EXPOSE`.
pub(crate) fn listed(args: &[String]) -> String {
    format!("[{}]", args.join(" "))
}

/// `{Test:[CMD a] Interval:30s ...}`.
pub(crate) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "{{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        listed(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries
    )
}

/// A text in double quotes, with the escapes of Go.
fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            '\0'..='\x1f' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(char))),
            '\u{80}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(char))),
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

/// Nanoseconds as Go writes them: `1m30s`, `1.5s`, `300ms`.
fn duration(nanoseconds: i64) -> String {
    let fraction = |value: i64, unit: i64| {
        let (whole, rest) = (value / unit, value % unit);
        if rest == 0 {
            return whole.to_string();
        }
        let digits = unit.ilog10() as usize;
        format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
    };
    const SECOND: i64 = 1_000_000_000;
    match nanoseconds.unsigned_abs() {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanoseconds, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanoseconds / (60 * SECOND), nanoseconds % (60 * SECOND));
            let seconds = fraction(rest, SECOND);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_in_dockers_notation() {
        let args = ["a b".to_owned(), "\"\\\n\u{1}é".to_owned()];
        assert_eq!(quoted(&args), r#"["a b" "\"\\\n\x01é"]"#);
        assert_eq!((quoted(&[]), listed(&args[..1])), ("[]".to_owned(), "[a b]".to_owned()));
    }

    #[test]
    fn durations_are_in_gos_notation() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_605_000_000_001, "1h0m5.000000001s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
