//! What holds for every text.

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    strategy::{Strategy, ValueTree},
};

use super::{super::*, harness};

/// Pieces that mean something to the parser, so that random texts reach beyond the first error.
const PIECES: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "ARG ",
    "LABEL ",
    "CMD ",
    "SHELL ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "USER ",
    "VOLUME ",
    "EXPOSE ",
    "WORKDIR ",
    "STOPSIGNAL ",
    "ENTRYPOINT ",
    "MAINTAINER ",
    "NONE",
    "scratch",
    " AS b",
    "a",
    "=",
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\r\n",
    "\\\n",
    "`\n",
    "\\",
    "`",
    "# c\n",
    "#\n",
    "# escape=`\n",
    "# syntax=x\n",
    "# check=skip=all\n",
    "[",
    "]",
    "[\"a\", \"b\"]",
    "\"",
    "'",
    ",",
    "$a",
    "${a:-b}",
    "${",
    "}",
    "<<EOF",
    "<<-'E'",
    "<<",
    "<",
    "EOF\n",
    "E\n",
    "--from=x ",
    "--link ",
    "--mount=type=cache ",
    "--interval=5s ",
    "-- ",
    "--",
    "é",
    "\u{a0}",
    "\u{feff}",
    "\u{b}",
    "\r",
    "1",
    "/d",
];

fn dockerfile_like() -> impl Strategy<Value = String> {
    vec(select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// Dockerfiles that parse, with everything that there is in the language.
const SEEDS: [&str; 6] = [
    include_str!("seeds/every-instruction.dockerfile"),
    include_str!("seeds/heredocs.dockerfile"),
    include_str!("seeds/backticks.dockerfile"),
    include_str!("seeds/line-ends.dockerfile"),
    include_str!("seeds/odd.dockerfile"),
    include_str!("seeds/expansion.dockerfile"),
];

/// A Dockerfile that parses, mutated a little: pieces are put in, taken away, and taken from another place.
fn mutated() -> impl Strategy<Value = String> {
    let place = any::<prop::sample::Index>;
    let edit =
        (place(), 0..4usize, prop_oneof![3 => select(PIECES).prop_map(Ok), 1 => (place(), 0..40usize).prop_map(Err)]);
    (select(&SEEDS[..]), vec(edit, 0..6)).prop_map(|(seed, edits)| {
        let mut text = seed.to_owned();
        for (at, removed, inserted) in edits {
            let boundary = |text: &str, at: usize| (at..).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
            let from = boundary(&text, at.index(text.len() + 1));
            let to = boundary(&text, (from + removed).min(text.len()));
            let piece = match inserted {
                Ok(piece) => piece.to_owned(),
                Err((at, length)) => {
                    let from = boundary(seed, at.index(seed.len()));
                    seed[from..boundary(seed, (from + length).min(seed.len()))].to_owned()
                }
            };
            text.replace_range(from..to, &piece);
        }
        text
    })
}

fn check(text: &str) -> bool {
    harness::check(text.as_bytes())
}

#[test]
fn seeds_and_the_files_of_the_conformance_suite_hold() {
    for seed in SEEDS {
        assert!(check(seed), "{seed}");
    }
    // Where the suite is not at hand, as in a package, the seeds alone are checked.
    let suite = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance/cases");
    let folders =
        |path: &std::path::Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut parsed = 0;
    for folder in folders(&suite).flat_map(|group| folders(&group).collect::<Vec<_>>()) {
        parsed += usize::from(harness::check(&std::fs::read(folder.join("Dockerfile")).unwrap()));
    }
    assert!(!suite.exists() || parsed > 200, "only {parsed} files parse");
}

#[test]
fn many_of_the_texts_parse() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut share = |strategy: &dyn Fn() -> BoxedStrategy<String>| {
        let texts = (0..1000).map(|_| strategy().new_tree(&mut runner).unwrap().current());
        texts.filter(|text| check(text)).count()
    };
    // A property of texts that are all refused would prove little.
    let mutated = share(&|| mutated().boxed());
    let pieces = share(&|| dockerfile_like().prop_map(|text| format!("FROM scratch\n{text}")).boxed());
    assert!(mutated > 150 && pieces > 40, "{mutated} and {pieces} of 1000");
}

// Four properties of 25,000 texts each.
proptest! {
    #![proptest_config(ProptestConfig { cases: 25_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn texts_like_dockerfiles_round_trip_or_are_explained(text in dockerfile_like()) {
        check(&text);
        check(&format!("FROM scratch\n{text}"));
    }

    #[test]
    fn mutated_dockerfiles_round_trip_or_are_explained(text in mutated()) {
        check(&text);
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        let _ = parse_bytes(&bytes);
        let _ = parse_syntax_bytes(&bytes);
    }
}
