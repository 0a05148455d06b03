//! What holds for every text.

use proptest::{collection::vec, prelude::*, sample::select};

use super::super::*;

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

/// A Dockerfile that parses, mutated a little.
fn mutated() -> impl Strategy<Value = String> {
    let seed = "# syntax=x\n# escape=\\\nARG V=1\n# base\nFROM a:$V AS b\nENV x=1 y=\"2 3\"\nRUN --mount=type=cache,target=/c \\\n  # c\n  a && b\nCOPY --from=b <<EOF x /d\n$V\nEOF\nRUN [\"a\", \"b\"]\nONBUILD RUN <<-E\n\tx\n\tE\nHEALTHCHECK --retries=3 CMD c\n";
    vec((0..seed.len(), 0..4usize, select(PIECES)), 0..6).prop_map(move |edits| {
        let mut text = seed.to_owned();
        for (at, removed, piece) in edits {
            let at = at.min(text.len());
            text.replace_range(at..(at + removed).min(text.len()), piece);
            if !text.is_ascii() {
                break;
            }
        }
        text
    })
}

/// A text that parses is printed to a text that parses to the same; one that does not is explained.
fn check(text: &str) {
    let _ = parse_syntax(text).map_err(|errors| errors.render("Dockerfile"));
    let _ = parse_trigger(text);
    match parse(text) {
        Ok(dockerfile) => {
            let printed = dockerfile.to_string();
            let again = parse(&printed);
            assert_eq!(again.as_ref().ok(), Some(&dockerfile), "{text:?} was printed as {printed:?}: {again:?}");
        }
        Err(errors) => assert!(!errors.render("Dockerfile").is_empty()),
    }
    if let Ok(found) = words::process_word(text, Escape::Backslash, &|name| name.starts_with('a').then_some("b c")) {
        assert!(found.undefined.is_subset(&found.unset) && found.unset.is_disjoint(&found.used), "{text:?}");
        assert!(text.contains(['$', '\'', '"', '\\']) || found.text == text, "{text:?}");
    }
    let _ = words::process_words(text, Escape::Backtick, &|_| None);
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
