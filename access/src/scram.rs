//! The server's part of SCRAM-SHA-256 (RFC 5802, RFC 7677), without I/O. It works on a
//! [`Verifier`], so that neither the password nor anything as good as it is kept anywhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::error::AccessError;
use crate::random::random_bytes;
use crate::verifier::{Key, Verifier, hmac, sha256};

/// Longest nonce of a client, bytes. Clients send 24.
const NONCE_MAX_BYTES: usize = 1_024;

/// An exchange whose first half is done: it waits for the client's proof.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    /// The client's words on channel binding, in base64, as the proof has to repeat them.
    binding: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

/// The server's last message, for a client that proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Final(String);

impl Final {
    /// The message.
    pub fn message(&self) -> &str {
        &self.0
    }
}

fn malformed(what: &str) -> AccessError {
    AccessError::Invalid(format!("SCRAM: {what}"))
}

impl Exchange {
    /// Takes the client's first message and gives the server's. `verifier` is that of the user
    /// whom the connection named; a name within the message is not looked at, as in PostgreSQL.
    ///
    /// # Errors
    /// `Invalid` for what is not such a message, or asks for channel binding, which is not offered.
    pub fn begin(verifier: Verifier, message: &[u8]) -> Result<(Self, String), AccessError> {
        Self::begin_with(verifier, message, &STANDARD.encode(random_bytes::<18>()?))
    }

    fn begin_with(
        verifier: Verifier,
        message: &[u8],
        server_nonce: &str,
    ) -> Result<(Self, String), AccessError> {
        let text = std::str::from_utf8(message).map_err(|_| malformed("not UTF-8"))?;
        // gs2-header: what the client says of channel binding, and for whom it acts.
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(acting_for), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed("the first message is cut"));
        };
        if !matches!(flag, "n" | "y") {
            return Err(malformed("channel binding is not offered"));
        }
        if !acting_for.is_empty() {
            return Err(malformed("nobody acts for another here"));
        }
        let mut fields = bare.split(',');
        let name = fields.next().filter(|field| field.starts_with("n="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| {
            !nonce.is_empty()
                && nonce.len() <= NONCE_MAX_BYTES
                && nonce.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let (Some(_), Some(client_nonce)) = (name, nonce) else {
            return Err(malformed("the first message has no name or no nonce"));
        };
        let nonce = format!("{client_nonce}{server_nonce}");
        let salt = STANDARD.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let exchange = Self {
            verifier,
            binding: STANDARD.encode(format!("{flag},,")),
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's proof and gives the server's.
    ///
    /// # Errors
    /// `Denied` for a proof that is not of the user's password; `Invalid` for what is no proof.
    pub fn finish(self, message: &[u8]) -> Result<Final, AccessError> {
        let text = std::str::from_utf8(message).map_err(|_| malformed("not UTF-8"))?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or_else(|| malformed("the last message has no proof"))?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        if binding != Some(self.binding.as_str()) {
            return Err(malformed("the channel binding is another than before"));
        }
        if nonce != Some(self.nonce.as_str()) {
            return Err(malformed("the nonce is another than before"));
        }
        let proof = STANDARD.decode(proof).map_err(|_| malformed("the proof is not base64"))?;
        let proof =
            Key::try_from(proof).map_err(|_| malformed("the proof is too short or long"))?;
        let said = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let mut client_key = hmac(&self.verifier.stored_key, said.as_bytes())?;
        for (key, proof) in client_key.iter_mut().zip(proof) {
            *key ^= proof;
        }
        let same: bool = sha256(&client_key).ct_eq(&self.verifier.stored_key).into();
        if !same {
            return Err(AccessError::Denied);
        }
        let signature = hmac(&self.verifier.server_key, said.as_bytes())?;
        Ok(Final(format!("v={}", STANDARD.encode(signature))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier(password: &str) -> Verifier {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        Verifier::derive(password, &salt, 4_096).unwrap()
    }

    fn begun(password: &str) -> Exchange {
        Exchange::begin_with(verifier(password), FIRST, SERVER_NONCE).unwrap().0
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc() {
        let (exchange, first) =
            Exchange::begin_with(verifier("pencil"), FIRST, SERVER_NONCE).unwrap();
        assert_eq!(
            first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = exchange.finish(LAST.as_bytes()).unwrap();
        assert_eq!(last.message(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_proof_of_another_password_is_denied() {
        assert_eq!(begun("Pencil").finish(LAST.as_bytes()), Err(AccessError::Denied));
    }

    #[test]
    fn what_was_said_before_holds() {
        for last in [
            LAST.replace("c=biws", "c=eSws"),
            LAST.replace("k0,p", "k1,p"),
            LAST.replace("r=rOpr", "r=sOpr"),
            LAST.replace(",p=dH", ",p=eH"),
            LAST.replace(",p=", ",q="),
            LAST.replace("ndVQ=", "ndVQ"),
            LAST.replace("c=biws,", ""),
            LAST.replace("k0,p", "k0,x=1,p"),
            String::new(),
        ] {
            assert!(begun("pencil").finish(last.as_bytes()).is_err(), "{last}");
        }
    }

    #[test]
    fn first_messages_that_are_none() {
        for first in [
            "",
            "n",
            "n,,",
            "n,,n=user",
            "n,,r=nonce",
            "n,,n=user,r=",
            "n,,m=ext,n=user,r=nonce",
            "n,a=admin,n=user,r=nonce",
            "p=tls-server-end-point,,n=user,r=nonce",
            "x,,n=user,r=nonce",
        ] {
            assert!(Exchange::begin(verifier("pencil"), first.as_bytes()).is_err(), "{first}");
        }
        assert!(Exchange::begin(verifier("pencil"), b"y,,n=,r=nonce").is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        /// Whatever is sent, nobody gets in without the proof.
        #[test]
        fn no_bytes_get_in(
            first in prop_oneof!["[ny],,n=[a-z]{0,4},r=[ -~]{0,12}(,[ -~]{0,9})?", "\\PC{0,40}"],
            last in prop_oneof![
                "c=(biws|eSws),r=[ -~]{0,40},p=[A-Za-z0-9+/]{43}=",
                "\\PC{0,60}",
            ],
            bytes in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let verifier = verifier("pencil");
            if let Ok((exchange, _)) = Exchange::begin(verifier.clone(), first.as_bytes()) {
                let nonce = exchange.nonce.clone();
                prop_assert!(exchange.finish(last.as_bytes()).is_err());
                let (exchange, _) = Exchange::begin(verifier.clone(), first.as_bytes()).unwrap();
                // With the right nonce of another exchange, too.
                let replay = format!("c=biws,r={nonce},p={}", STANDARD.encode([7; 32]));
                prop_assert!(exchange.finish(replay.as_bytes()).is_err());
            }
            drop(Exchange::begin(verifier, &bytes));
        }
    }
}
