//! Hostile files are answered, and soon. The bounds are generous: only what is not linear would pass them.

use std::{
    iter,
    time::{Duration, Instant},
};

use super::super::*;

fn fault(text: &str) -> String {
    let started = Instant::now();
    let errors = parse(text).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(120), "took {:?}", started.elapsed());
    errors.iter().next().unwrap().kind().to_string()
}

#[test]
fn what_is_too_large_is_refused_by_name() {
    let long = format!("FROM a\nRUN {}\n", "x".repeat(10 << 20));
    assert_eq!(fault(&long), "a line is larger than the limit of 1024 KiB");
    let continued = format!("FROM a\nRUN {}\n", "x \\\n".repeat(1 << 20));
    assert_eq!(fault(&continued), "a line is larger than the limit of 1024 KiB");
    let heredoc = format!("FROM a\nRUN <<E\n{}E\n", "x\n".repeat(25 << 20));
    assert_eq!(fault(&heredoc), "a heredoc is larger than the limit of 16 MiB");
    let many = format!("FROM a\n{}", "ENV a=b\n".repeat(100_000));
    assert_eq!(fault(&many), "the number of instructions is larger than the limit of 65536");
    let bad = "x\n".repeat(1 << 20);
    assert_eq!(fault(&bad), "unknown instruction `x`");
    assert_eq!(fault(&" ".repeat((64 << 20) + 1)), "the Dockerfile is larger than the limit of 64 MiB");
    let deep = format!("FROM a\nCMD {}\n", "[".repeat(1 << 19));
    assert_eq!(fault(&deep), "JSON is nested deeper than 10000 levels");
}

#[test]
fn what_is_merely_large_is_read_in_linear_time() {
    let repeated = |unit: &str, bytes: usize| -> String {
        iter::once("FROM a\n").chain(iter::repeat_n(unit, bytes / unit.len())).collect()
    };
    for text in [
        repeated("# c\n", 8 << 20),
        repeated("\n", 16 << 20),
        repeated("RUN a \\\n\n # b\n c\n", 1 << 20),
        format!("FROM a\nENV {}\n", "a=\"$b\" ".repeat(100_000)),
        format!("FROM a\nENV a={}\n", "\"".repeat(999_999)),
        format!("FROM a\nRUN {} x\n", "--mount=a ".repeat(100_000)),
        format!("FROM a\nRUN {}\n", "\"<<a\" ".repeat(150_000)),
        format!("FROM a\nRUN [{}\"\"]\n", "\"a\",".repeat(200_000)),
        format!("FROM a\nRUN {}\n", "[\"a\",".repeat(9_000)),
        format!("FROM a\nRUN <<E\n{}E\n", "x\n".repeat(7 << 20)),
        format!("FROM a\nLABEL {}=b\n", "\\".repeat(1_000_000)),
    ] {
        let started = Instant::now();
        let dockerfile = parse(&text);
        assert!(started.elapsed() < Duration::from_secs(120), "{}… took {:?}", &text[..40], started.elapsed());
        dockerfile.unwrap_or_else(|errors| panic!("{}", errors.render("Dockerfile")));
    }
    // Triggers of triggers are read no deeper than the first.
    let nested = format!("FROM a\n{} RUN b\n", "ONBUILD ".repeat(100_000));
    assert_eq!(fault(&nested), "ONBUILD is not allowed as an ONBUILD trigger");
    let markers = format!("FROM a\nRUN {}\n{}", "<<a ".repeat(20_000), "a\n".repeat(20_000));
    assert!(parse(&markers).is_ok());
}
