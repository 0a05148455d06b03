//! What holds for every file, whatever its bytes are: the property tests, the seeds and the fuzz target all ask this.

use super::dockerfile::{self, Escape, words};

/// Every file is answered. One that parses is printed to a text that parses to the same; one that does not is
/// explained. Tells whether it parsed.
pub(crate) fn check(bytes: &[u8]) -> bool {
    if let Err(errors) = dockerfile::parse_syntax_bytes(bytes) {
        assert!(!errors.render("Dockerfile").is_empty());
    }
    let parsed = match dockerfile::parse_bytes(bytes) {
        Ok(tree) => {
            let printed = tree.to_string();
            let again = dockerfile::parse(&printed);
            assert_eq!(again.as_ref().ok(), Some(&tree), "it was printed as {printed:?}: {again:?}");
            // What was printed once is printed the same again.
            assert_eq!(tree.to_string(), printed);
            true
        }
        Err(errors) => {
            assert!(errors.iter().next().is_some() && !errors.render("Dockerfile").is_empty());
            false
        }
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        let lookup = |name: &str| name.starts_with('a').then_some("b c");
        let _ = dockerfile::parse_trigger(text);
        if let Ok(found) = words::process_word(text, Escape::Backslash, &lookup) {
            assert!(found.undefined.is_subset(&found.unset) && found.unset.is_disjoint(&found.used), "{text:?}");
            assert!(text.contains(['$', '\'', '"', '\\']) || found.text == text, "{text:?}");
        }
        let _ = words::process_words(text, Escape::Backtick, &lookup);
        let _ = words::process_text(text, &lookup);
    }
    parsed
}
