//! `--chmod`: octal numbers and the symbolic form of chmod(1).

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// These bits, whatever was there.
    Octal(u16),
    /// Changes in order.
    Symbolic(Vec<Clause>),
}

/// One `[ugoa...][+-=][rwxXst...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// The bits that the clause may touch: owner, group, others, each with its special bit.
    who: u16,
    operator: Operator,
    /// Read, write, execute as for one class.
    permissions: u16,
    /// `X`: execute for directories and for what someone may execute already.
    execute_if_any: bool,
    set_id: bool,
    sticky: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

impl Mode {
    /// Parses a mode; `None` when it is neither form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits = u16::from_str_radix(text, 8).ok()?;
            return (bits <= 0o7777).then_some(Self::Octal(bits));
        }
        let mut clauses = Vec::new();
        for clause in text.split(',') {
            clauses.extend(parse_clauses(clause)?);
        }
        Some(Self::Symbolic(clauses))
    }

    /// The bits after the change.
    pub(crate) fn apply(&self, bits: u16, is_directory: bool) -> u16 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(clauses) => clauses.iter().fold(bits, |bits, clause| clause.apply(bits, is_directory)),
        }
    }
}

impl Clause {
    fn apply(&self, bits: u16, is_directory: bool) -> u16 {
        let mut class = self.permissions;
        if self.execute_if_any && (is_directory || bits & 0o111 != 0) {
            class |= 1;
        }
        let mut change = (class << 6 | class << 3 | class) & self.who;
        if self.set_id {
            change |= 0o6000 & self.who;
        }
        if self.sticky {
            change |= 0o1000 & self.who;
        }
        match self.operator {
            Operator::Add => bits | change,
            Operator::Remove => bits & !change,
            Operator::Set => bits & !self.who | change,
        }
    }
}

fn parse_clauses(text: &str) -> Option<Vec<Clause>> {
    let operators = text.find(['+', '-', '='])?;
    let mut who = 0;
    for class in text[..operators].chars() {
        who |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    let who = if who == 0 { 0o7777 } else { who };
    let mut rest = &text[operators..];
    let mut clauses = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        rest = &rest[1..];
        let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
        let mut clause = Clause { who, operator, permissions: 0, execute_if_any: false, set_id: false, sticky: false };
        for permission in rest[..end].chars() {
            match permission {
                'r' => clause.permissions |= 4,
                'w' => clause.permissions |= 2,
                'x' => clause.permissions |= 1,
                'X' => clause.execute_if_any = true,
                's' => clause.set_id = true,
                't' => clause.sticky = true,
                _ => return None,
            }
        }
        clauses.push(clause);
        rest = &rest[end..];
    }
    Some(clauses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_bits_as_chmod_does() {
        for (mode, before, is_directory, after) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o4755, false, 0o644),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("a=rX", 0o600, false, 0o444),
            ("a=rX", 0o700, true, 0o555),
            ("u=rw,g=r,o=", 0o777, false, 0o640),
            ("u+s,o+t", 0o755, false, 0o5755),
            ("g=rws", 0o700, false, 0o2760),
            ("u=rwx-w+w", 0o000, false, 0o700),
        ] {
            let parsed = Mode::parse(mode).unwrap_or_else(|| panic!("{mode} does not parse"));
            let result = parsed.apply(before, is_directory);
            assert_eq!(result, after, "{mode} on {before:o} gives {result:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "8", "10000", "u", "rwx", "u+q", "z+r", "u+r,", "+é"] {
            assert_eq!(Mode::parse(text), None, "{text:?}");
        }
    }
}
