//! Which names of variables speak of secrets.

/// Words that a secret is called by.
const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that say it is none after all: `PUBLIC_KEY`, `TOKEN_FILE`.
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a variable of this name probably holds a secret: one of its words, between underscores, says so.
pub(crate) fn is_secret(name: &str) -> bool {
    let has = |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| word.eq_ignore_ascii_case(part)));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_count() {
        for (name, expected) in [
            ("API_KEY", true),
            ("apikey", true),
            ("GITHUB_TOKEN", true),
            ("secret_MESSAGE", true),
            ("AUTH", true),
            ("git_key", true),
            ("PUBLIC_KEY", false),
            ("DB_PASSWORD_FILE", false),
            ("TOKEN_VERSION", false),
            ("KEYBOARD", false),
            ("AUTHOR", false),
            ("MONKEY", false),
        ] {
            assert_eq!(is_secret(name), expected, "{name}");
        }
    }
}
