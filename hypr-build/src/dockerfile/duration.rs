//! Durations as health checks have them: `1h30m`, `1.5s`, `300ms`.

use std::time::Duration;

use nom::{
    IResult, Parser,
    branch::alt,
    bytes::complete::tag,
    character::complete::{char, digit0, digit1, one_of},
    combinator::{all_consuming, opt, value},
    multi::fold_many1,
    sequence::{pair, preceded},
};

/// The duration that `text` is. `0` needs no unit; a negative one, or one of three centuries, is none.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (_, (sign, nanoseconds)) =
        all_consuming(pair(opt(one_of("+-")), alt((total, value(Some(0), tag("0")))))).parse(text).ok()?;
    let nanoseconds = nanoseconds.filter(|nanoseconds| sign != Some('-') || *nanoseconds == 0)?;
    i64::try_from(nanoseconds).ok()?;
    Some(Duration::from_nanos(u64::try_from(nanoseconds).ok()?))
}

/// Parts one after the other; `None` once the sum is beyond measure.
fn total(input: &str) -> IResult<&str, Option<u128>> {
    let sum = |sum: Option<u128>, part: Option<u128>| sum?.checked_add(part?);
    fold_many1(part, || Some(0), sum).parse(input)
}

/// A decimal number and its unit.
fn part(input: &str) -> IResult<&str, Option<u128>> {
    let whole = pair(digit1, opt(preceded(char('.'), digit0)));
    let fraction = preceded(char('.'), digit1).map(|fraction| ("0", Some(fraction)));
    let (rest, ((whole, fraction), unit)) = pair(alt((whole, fraction)), unit).parse(input)?;
    Ok((rest, nanoseconds(whole, fraction.unwrap_or_default(), unit)))
}

fn unit(input: &str) -> IResult<&str, u128> {
    alt((
        value(1, tag("ns")),
        value(1_000, alt((tag("us"), tag("µs"), tag("μs")))),
        value(1_000_000, tag("ms")),
        value(1_000_000_000, tag("s")),
        value(60_000_000_000, tag("m")),
        value(3_600_000_000_000, tag("h")),
    ))
    .parse(input)
}

fn nanoseconds(whole: &str, fraction: &str, unit: u128) -> Option<u128> {
    let whole = whole.parse::<u64>().ok()?;
    // Digits below the nanosecond do not count.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
    u128::from(whole).checked_mul(unit)?.checked_add(fraction * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, expected) in [
            ("1h30m", Some(Duration::from_secs(5400))),
            ("1.5s", Some(Duration::from_millis(1500))),
            (".5s", Some(Duration::from_millis(500))),
            ("1.s", Some(Duration::from_secs(1))),
            ("+300ms", Some(Duration::from_millis(300))),
            ("2us3ns", Some(Duration::from_nanos(2003))),
            ("0", Some(Duration::ZERO)),
            ("-0s", Some(Duration::ZERO)),
            ("0.0000000000000000000001s", Some(Duration::ZERO)),
            ("-1s", None),
            ("5", None),
            ("", None),
            ("1d", None),
            ("s", None),
            (".s", None),
            ("9999999999h", None),
            ("99999999999999999999999s", None),
        ] {
            assert_eq!(duration(text), expected, "{text:?}");
        }
    }
}
