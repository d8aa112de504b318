//! Content digests: `algorithm ":" encoded` (image-spec, descriptor.md#digests), sha256 and sha512 only.

use std::fmt;
use std::str::FromStr;

use sha2::digest::common::hazmat::{SerializableState, SerializedState};
use sha2::{Digest as _, Sha256, Sha512};

/// A registered digest algorithm that this registry computes and accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 32 bytes: the canonical algorithm.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The algorithm's registered identifier.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the raw hash in bytes.
    pub const fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, DigestError> {
        match s {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// There is no `algorithm:encoded` shape.
    #[error("a digest has the form algorithm:encoded, for example sha256:<64 lower-case hex digits>")]
    Shape,
    /// The algorithm is not one of those served.
    #[error("unsupported digest algorithm (sha256 and sha512 are supported)")]
    Algorithm,
    /// The encoded part has the wrong length or characters.
    #[error(
        "the encoded part must be lower-case hex of the algorithm's length (sha256: 64, sha512: 128 digits)"
    )]
    Encoded,
    /// A saved hash state could not be read back.
    #[error("the saved hash state is damaged")]
    State,
}

/// A content digest, parsed. `Display` gives the canonical text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    /// The hash; bytes past the algorithm's length are zero.
    hash: [u8; 64],
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw hash, [`Algorithm::hash_len`] bytes.
    pub fn hash(&self) -> &[u8] {
        &self.hash[..self.algorithm.hash_len()]
    }

    /// The encoded part: lower-case hex.
    pub fn hex(&self) -> String {
        let mut out = String::with_capacity(128);
        self.push_hex(&mut out);
        out
    }

    /// The tag under which clients keep the referrers index of this digest when a registry has no referrers
    /// API (distribution-spec, "Referrers Tag Schema").
    pub fn referrers_tag(&self) -> String {
        let hex = self.hex();
        format!("{}-{}", self.algorithm, &hex[..64])
    }

    fn push_hex(&self, out: &mut String) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for byte in self.hash() {
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }

    fn from_hash(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hash = [0; 64];
        hash[..algorithm.hash_len()].copy_from_slice(bytes);
        Self { algorithm, hash }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(s: &str) -> Result<Self, DigestError> {
        let (algorithm, encoded) = s.split_once(':').ok_or(DigestError::Shape)?;
        let algorithm = Algorithm::from_str(algorithm)?;
        let encoded = encoded.as_bytes();
        if encoded.len() != algorithm.hash_len() * 2 {
            return Err(DigestError::Encoded);
        }
        let mut hash = [0; 64];
        for (byte, pair) in hash.iter_mut().zip(encoded.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self { algorithm, hash })
    }
}

/// Upper-case hex is refused: two spellings of one digest would be two keys.
fn nibble(c: u8) -> Result<u8, DigestError> {
    match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(DigestError::Encoded),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::with_capacity(136);
        out.push_str(self.algorithm.as_str());
        out.push(':');
        self.push_hex(&mut out);
        f.write_str(&out)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// An incremental hash whose state can be saved between requests, so that no byte of a chunked upload is
/// hashed twice.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// SHA-256 in progress.
    Sha256(Sha256),
    /// SHA-512 in progress.
    Sha512(Sha512),
}

impl Hasher {
    /// A hasher that has seen nothing.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// The algorithm in use.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Feeds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(h) => h.update(bytes),
            Self::Sha512(h) => h.update(bytes),
        }
    }

    /// The digest of everything fed.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(h) => Digest::from_hash(Algorithm::Sha256, &h.finalize()),
            Self::Sha512(h) => Digest::from_hash(Algorithm::Sha512, &h.finalize()),
        }
    }

    /// The state so far, for [`Hasher::restore`].
    pub fn save(&self) -> Vec<u8> {
        match self {
            Self::Sha256(h) => h.serialize().to_vec(),
            Self::Sha512(h) => h.serialize().to_vec(),
        }
    }

    /// A hasher that goes on from a state written by [`Hasher::save`].
    ///
    /// # Errors
    /// [`DigestError::State`] when the bytes are not such a state.
    pub fn restore(algorithm: Algorithm, state: &[u8]) -> Result<Self, DigestError> {
        match algorithm {
            Algorithm::Sha256 => {
                let state: &SerializedState<Sha256> = state.try_into().map_err(|_| DigestError::State)?;
                Ok(Self::Sha256(Sha256::deserialize(state).map_err(|_| DigestError::State)?))
            }
            Algorithm::Sha512 => {
                let state: &SerializedState<Sha512> = state.try_into().map_err(|_| DigestError::State)?;
                Ok(Self::Sha512(Sha512::deserialize(state).map_err(|_| DigestError::State)?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_vectors() {
        let d = Digest::sha256(b"abc");
        assert_eq!(d.to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(Digest::of(Algorithm::Sha512, b"abc").to_string().starts_with("sha512:ddaf35a193617aba"));
        assert_eq!(d.referrers_tag(), format!("sha256-{}", d.hex()));
    }

    #[test]
    fn refuses_what_is_no_digest() {
        let hex = "a".repeat(64);
        for bad in [
            String::new(),
            "sha256".into(),
            format!("sha256:{}", "A".repeat(64)),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{hex}0"),
            format!("sha512:{hex}"),
            format!("md5:{hex}"),
            format!("SHA256:{hex}"),
            format!("sha256:{}/", &hex[1..]),
            "sha256:baddigeststring".into(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn saved_state_continues(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6), long: bool) {
            let algorithm = if long { Algorithm::Sha512 } else { Algorithm::Sha256 };
            let mut hasher = Hasher::new(algorithm);
            for part in &parts {
                hasher.update(part);
                hasher = Hasher::restore(algorithm, &hasher.save()).unwrap();
            }
            prop_assert_eq!(hasher.finish(), Digest::of(algorithm, &parts.concat()));
        }

        #[test]
        fn text_round_trips(bytes: Vec<u8>, long: bool) {
            let digest = Digest::of(if long { Algorithm::Sha512 } else { Algorithm::Sha256 }, &bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        }

        #[test]
        fn restore_never_panics(state: Vec<u8>) {
            let _ = Hasher::restore(Algorithm::Sha256, &state);
            let _ = Hasher::restore(Algorithm::Sha512, &state);
        }
    }
}
