//! Certificates of the tests' own.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// An authority that issues certificates into a folder.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
    /// Its own certificate.
    pub(crate) certificate: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = folder.join(format!("{name}.crt"));
        std::fs::write(&certificate, params.self_signed(&key).expect("a certificate").pem())
            .expect("written");
        Self { issuer: Issuer::new(params, key), folder: folder.to_owned(), certificate }
    }

    /// A certificate for `names`, written to `<file>.crt` and `<file>.key`.
    pub(crate) fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_until(file, names, 2100)
    }

    /// The same, that ends with the start of `year`.
    pub(crate) fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |ending: &str| self.folder.join(format!("{file}.{ending}"));
        let issued = Issued { certificate: path("crt"), key: path("key") };
        std::fs::write(&issued.certificate, signed.pem()).expect("written");
        std::fs::write(&issued.key, key.serialize_pem()).expect("written");
        issued
    }
}
