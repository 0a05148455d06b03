//! What every client of HTTP in this crate shares.

use std::{
    error::Error as _,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use reqwest::{ClientBuilder, redirect::Policy};

/// Redirects that are followed for one request.
const REDIRECTS: usize = 10;

/// A client to be made: bounded in time and redirects, with the proxies of the environment.
pub(crate) fn client() -> ClientBuilder {
    install_tls();
    reqwest::Client::builder()
        .user_agent(concat!("hypr/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(15))
        .read_timeout(Duration::from_secs(60))
        .redirect(Policy::limited(REDIRECTS))
}

/// Chooses how TLS is done, if nobody did.
pub(crate) fn install_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may be faster, which is as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Whether a host is the machine itself, to which plain HTTP is safe, and to which no proxy leads.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().as_ref().is_some_and(Ipv4Addr::is_loopback)
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The causes of an error in one line. They name no URL, in which there may be a password.
pub(crate) fn causes(error: &reqwest::Error) -> String {
    if error.is_redirect() {
        return format!("it redirects more than {REDIRECTS} times, or to where nobody can follow");
    }
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Several layers of the client say the same.
        if !causes.iter().any(|known: &String| known.contains(&text)) {
            causes.push(text);
        }
        next = cause.source();
    }
    match causes.is_empty() {
        true if error.is_timeout() => "it does not answer".to_owned(),
        true => "the request failed".to_owned(),
        false => causes.join(": "),
    }
}
