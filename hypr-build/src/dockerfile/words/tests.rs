//! What a shell, and BuildKit after it, makes of a word.

use std::collections::BTreeMap;

use super::*;

fn expand(text: &str, variables: &[(&str, &'static str)]) -> Result<Expansion, WordErrorKind> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    process_word(text, Escape::Backslash, &|name| variables.get(name).copied()).map_err(|error| error.kind)
}

#[test]
fn quotes_and_escapes_are_taken_away() {
    for (text, expected) in [
        ("hello", "hello"),
        ("he'll'o", "hello"),
        ("he'llo w'\"or\"ld", "hello world"),
        ("he\\'llo", "he'llo"),
        ("he\\\\llo", "he\\llo"),
        ("hel\\lo\\", "hello"),
        ("\"he\\llo\\\"\\$\\\\\"", "he\\llo\"$\\"),
        ("'he\\llo'", "he\\llo"),
        ("''\"\"", ""),
        ("a b  c", "a b  c"),
        ("한국어 \\é", "한국어 é"),
    ] {
        assert_eq!(expand(text, &[]).unwrap().text, expected, "{text}");
    }
    let backtick = process_word("a`$b\\c", Escape::Backtick, &|_| None).unwrap();
    assert_eq!(backtick.text, "a$b\\c");
}

#[test]
fn variables_take_their_values_and_defaults() {
    let variables = &[("PWD", "/home"), ("NULL", ""), ("KO", "한국어"), ("_a1", "u")];
    for (text, expected) in [
        ("$PWD", "/home"),
        ("${PWD}x", "/homex"),
        ("$PWDx", ""),
        ("$PWD.$_a1-", "/home.u-"),
        ("'$PWD'", "$PWD"),
        ("\\$PWD", "$PWD"),
        ("\"$PWD\"", "/home"),
        ("\"'$PWD'\"", "'/home'"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.x", "$.x"),
        ("$1x", "x"),
        ("$12x", "x"),
        ("$@$$", ""),
        ("\"${NONE:-a b}\"", "a b"),
        ("${PWD:-x}${NULL:-x}${NONE:-x}", "/homexx"),
        ("${PWD-x}${NULL-x}${NONE-x}", "/homex"),
        ("${PWD:+x}${NULL:+x}${NONE:+x}", "x"),
        ("${PWD+x}${NULL+x}${NONE+x}", "xx"),
        ("${PWD:?}${PWD?no}", "/home/home"),
        ("${NULL?x}", ""),
        ("${NONE:-${NULL:-$PWD}}", "/home"),
        ("${NONE:-\\}}", "}"),
        ("${NONE:-'}'}", "}"),
        ("${KO}-${NONE:-한}", "한국어-한"),
    ] {
        assert_eq!(expand(text, variables).unwrap().text, expected, "{text}");
    }
}

#[test]
fn patterns_cut_and_replace() {
    let variables = &[
        ("X", "xxyy"),
        ("STARS", "a***yy*"),
        ("PATH", "/tmp/tmp/bar.txt"),
        ("GLOB", "/foo*/*/*.txt"),
        ("SPECIAL", "()[]{}^$.*?|\\x"),
        ("B", "x"),
        ("EMPTY", ""),
        ("SLASHES", "/?/"),
        ("TREE", "/a/foo/b/c.txt"),
        ("STAR_SLASH", "\\*/"),
        ("KO", "한국어한"),
    ];
    for (text, expected) in [
        ("${X#x}", "xyy"),
        ("${X#*x}", "xyy"),
        ("${X##*x}", "yy"),
        ("${X#*x*y}", "y"),
        ("${X#*}", "xxyy"),
        ("${X##*}", ""),
        ("${X#}", "xxyy"),
        ("${X#y}", "xxyy"),
        ("${X#$B}", "xyy"),
        ("${X##$EMPTY}", "xxyy"),
        ("${X%y}", "xxy"),
        ("${X%y*}", "xxy"),
        ("${X%%y*}", "xx"),
        ("${X%x}", "xxyy"),
        ("${X%%?}", "xxy"),
        ("${STARS%%\\**\\*}", "a"),
        ("${STARS%\\*}", "a***yy"),
        ("${SPECIAL#()[]{\\}^$.\\*\\?|\\\\}", "x"),
        ("${KO%한}${KO##*국}", "한국어어한"),
        ("${GLOB/$STAR_SLASH/.}", "/foo.*/*.txt"),
        ("${GLOB//$STAR_SLASH/.}", "/foo..*.txt"),
        ("${PATH/\\/tmp/}", "/tmp/bar.txt"),
        ("${PATH//\\/tmp/}", "/bar.txt"),
        ("${TREE/$SLASHES/-}", "-foo/b/c.txt"),
        ("${TREE//$SLASHES/-}", "-foo-c.txt"),
        ("${PATH//\\//\\\\/}", "\\\\/tmp\\\\/tmp\\\\/bar.txt"),
        ("${X/$EMPTY/ww}", "wwxxyy"),
        ("${X///}", "xxyy"),
        ("${X//*/-}", "-"),
        ("${X//y*/-}", "xx-"),
        ("${X//$EMPTY/-}", "-x-x-y-y-"),
        ("${NONE///}", ""),
        ("${NONE#x}", ""),
        ("${NONE:-.}${X%x}${NONE:-.}", ".xxyy."),
    ] {
        assert_eq!(expand(text, variables).unwrap().text, expected, "{text}");
    }
}

#[test]
fn faults_are_told_apart_and_placed() {
    let required = |message: &str| WordErrorKind::Required { name: "NONE".to_owned(), message: message.to_owned() };
    for (text, kind, offset) in [
        ("a'b", WordErrorKind::SingleQuote, 1),
        ("a\"b", WordErrorKind::DoubleQuote, 1),
        ("a${b", WordErrorKind::MissingBrace, 1),
        ("a${", WordErrorKind::MissingBrace, 1),
        ("${b:", WordErrorKind::MissingBrace, 0),
        ("${b:-x", WordErrorKind::MissingBrace, 0),
        ("${b/x}", WordErrorKind::MissingSlash, 0),
        ("${b//x", WordErrorKind::MissingSlash, 0),
        ("${}", WordErrorKind::BadSubstitution, 2),
        ("${:x}", WordErrorKind::BadSubstitution, 2),
        ("${{x}}", WordErrorKind::BadSubstitution, 2),
        ("${b=c}", WordErrorKind::Modifier("=".to_owned()), 3),
        ("${b:=c}", WordErrorKind::Modifier(":=".to_owned()), 3),
        ("${b:#c}", WordErrorKind::Modifier(":#".to_owned()), 3),
        ("${b:%%c}", WordErrorKind::Modifier(":%".to_owned()), 3),
        ("${b^^}", WordErrorKind::Modifier("^".to_owned()), 3),
        ("${b#\\x}", WordErrorKind::Pattern('x'), 4),
        ("${NONE:?}", required("is not allowed to be unset"), 8),
        ("${NONE?say $X}", required("say it"), 7),
    ] {
        let error = process_word(text, Escape::Backslash, &|name| (name == "X").then_some("it")).unwrap_err();
        assert_eq!(error, WordError { kind, offset }, "{text}");
    }
    let empty = expand("${V:?}", &[("V", "")]).unwrap_err();
    assert_eq!(empty.to_string(), "V: is not allowed to be empty");
}

#[test]
fn words_split_at_blanks_outside_of_quotes() {
    let variables = |name: &str| match name {
        "LIST" => Some(" a b\tc "),
        "ONE" => Some("1"),
        _ => None,
    };
    for (text, expected) in [
        ("hello", &["hello"][..]),
        (" hello  wo\\ rld ", &["hello", "wo rld"]),
        ("he'llo wo'rld \"a b\"", &["hello world", "a b"]),
        ("$LIST", &["a", "b", "c"]),
        ("x${LIST}y", &["x", "a", "b", "c", "y"]),
        ("x\"$LIST\"y", &["x a b\tc y"]),
        ("$NONE '' \"\" $ONE", &["1"]),
        ("${NONE:-d e}", &["d", "e"]),
        ("<< x", &["<<", "x"]),
    ] {
        assert_eq!(process_words(text, Escape::Backslash, &variables).unwrap().words, expected, "{text:?}");
    }
}

#[test]
fn used_and_unset_variables_are_reported() {
    let found = expand("$A ${B:-$C} ${D+x} '$E' \\$F", &[("A", "a"), ("D", "")]).unwrap();
    assert_eq!(found.used.iter().collect::<Vec<_>>(), ["A", "D"]);
    assert_eq!(found.unset.iter().collect::<Vec<_>>(), ["B", "C"]);
    assert_eq!(found.undefined.iter().collect::<Vec<_>>(), ["C"]);
    let found = expand("${A-x}${B?}${C+x}${D#x}${E/x/y}${F}", &[("B", "b")]).unwrap();
    assert_eq!(found.undefined.iter().collect::<Vec<_>>(), ["D", "E", "F"]);
}

#[test]
fn heredoc_texts_keep_quotes_and_lose_escapes() {
    let found = process_text("echo \"$A\" '${A}' \\$A\nit's\n", &|name| (name == "A").then_some("v")).unwrap();
    assert_eq!(found.text, "echo \"v\" 'v' $A\nit's\n");
}

#[test]
fn results_and_nesting_are_bounded() {
    let big = "x".repeat(MAX_EXPANSION / 2 + 1);
    let lookup = |_: &str| Some(big.as_str());
    for text in ["$A$A", "\"$A$A\"", "${A/x/$A$A}", "${A//x/yyyy}"] {
        let error = process_word(text, Escape::Backslash, &lookup).unwrap_err();
        assert_eq!(error.kind, WordErrorKind::TooLong, "{text}");
        assert!(process_words(text, Escape::Backslash, &lookup).is_err(), "{text}");
    }
    let nested = |depth: usize| format!("{}x{}", "${A-".repeat(depth), "}".repeat(depth));
    assert_eq!(expand(&nested(MAX_DEPTH), &[]).unwrap().text, "x");
    assert_eq!(expand(&nested(100_000), &[]).unwrap_err(), WordErrorKind::TooDeep);
    let pattern = format!("${{A#{}}}", "*a".repeat(1 << 16));
    let error = process_word(&pattern, Escape::Backslash, &lookup).unwrap_err();
    assert_eq!(error.kind, WordErrorKind::PatternTooLong);
}
