//! Dockerfiles as text and as a tree.
