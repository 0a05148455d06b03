//! Instructions that change the image's configuration and nothing else.

use super::{error::Problem, ports};
use crate::{
    dockerfile::HealthcheckOptions,
    image::{Healthcheck, ProcessConfig},
};

/// `EXPOSE`, one expanded word.
pub(crate) fn expose(config: &mut ProcessConfig, word: &str) -> Result<(), Problem> {
    let expected = "a port such as 80, 80/udp or 8000-8010";
    let ports = ports::expand(word).ok_or_else(|| Problem::Value { value: word.to_owned(), expected })?;
    config.exposed_ports.extend(ports);
    Ok(())
}

/// `STOPSIGNAL`: a number or a name that Linux has.
pub(crate) fn stop_signal(config: &mut ProcessConfig, signal: &str) -> Result<(), Problem> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let upper = signal.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_number = signal.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    let real_time = name.strip_prefix("RTMIN").or_else(|| name.strip_prefix("RTMAX"));
    let is_real_time = real_time.is_some_and(|offset| {
        offset.is_empty() || offset.strip_prefix(['+', '-']).is_some_and(|number| number.parse::<u8>().is_ok())
    });
    if !is_number && !NAMES.contains(&name) && !is_real_time && !matches!(name, "IOT" | "POLL" | "CLD") {
        return Err(Problem::Value { value: signal.to_owned(), expected: "a signal such as SIGTERM or 15" });
    }
    config.stop_signal = Some(signal.to_owned());
    Ok(())
}

/// `HEALTHCHECK CMD`; what the options leave out is the runtime's default.
pub(crate) fn healthcheck(test: Vec<String>, options: &HealthcheckOptions) -> Healthcheck {
    let nanoseconds = |duration: Option<std::time::Duration>| {
        duration.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
    };
    Healthcheck {
        test,
        interval: nanoseconds(options.interval),
        timeout: nanoseconds(options.timeout),
        start_period: nanoseconds(options.start_period),
        start_interval: nanoseconds(options.start_interval),
        retries: options.retries.map_or(0, i64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_names_or_numbers_that_linux_has() {
        for (signal, valid) in [
            ("SIGTERM", true),
            ("term", true),
            ("9", true),
            ("SIGRTMIN+3", true),
            ("SIGRTMAX", true),
            ("0", false),
            ("65", false),
            ("SIGNOPE", false),
            ("", false),
        ] {
            let result = stop_signal(&mut ProcessConfig::default(), signal);
            assert_eq!(result.is_ok(), valid, "STOPSIGNAL {signal}");
        }
    }
}
