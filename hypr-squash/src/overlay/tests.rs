//! Unions of small stacks.
