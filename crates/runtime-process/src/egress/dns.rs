//! The name server of a function's network. It asks nobody: a listed name has an address that stands for it, and any
//! other does not exist. So names carry nothing out, and a name counts for what is behind it when it is connected to.

use std::net::Ipv4Addr;
use std::ops::Range;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use squall_runtime::network::Rule;
use tokio::net::UdpSocket;

use super::names::Names;

/// The longest query: what a resolver may send without having agreed on more.
const QUERY_BYTES_MAX: usize = 1232;
/// Where a query counts what is in it, and how: one question, no answers, less than 256 additions.
const COUNTS: Range<usize> = 4..11;
const ONE_QUESTION: [u8; 7] = [0, 1, 0, 0, 0, 0, 0];
/// Seconds; the address stands for the name much longer.
const TTL: u32 = 60;

/// Answers one query after the other, until it is dropped.
pub(super) async fn serve(socket: &UdpSocket, rule: &Rule, names: &Names) {
    let mut query = [0; QUERY_BYTES_MAX];
    loop {
        match socket.recv_from(&mut query).await {
            Ok((bytes, from)) => {
                if let Some(answer) = answer(&query[..bytes], rule, names) {
                    // Who does not take it asks again.
                    let _ = socket.try_send_to(&answer, from);
                }
            }
            // Of an answer that nobody took.
            Err(error) => tracing::trace!(%error, "a function's name server"),
        }
    }
}

/// `None` for what no resolver sends.
fn answer(query: &[u8], rule: &Rule, names: &Names) -> Option<Vec<u8>> {
    // The parser sets aside as much room as the counts say.
    if query.get(COUNTS)? != ONE_QUESTION {
        return None;
    }
    let query = Packet::parse(query).ok()?;
    if query.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE);
    if query.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let question = query.questions.first()?;
    reply.questions.push(question.clone());
    *reply.rcode_mut() = if query.opcode() != OPCODE::StandardQuery {
        RCODE::NotImplemented
    } else {
        match found(&question.qname.to_string(), question.qtype, rule, names) {
            Ok(None) => RCODE::NoError,
            Ok(Some(address)) => {
                let data = RData::A(A::from(address));
                let record = ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data);
                reply.answers.push(record);
                RCODE::NoError
            }
            Err(code) => code,
        }
    };
    reply.build_bytes_vec().ok()
}

/// An address, or nothing of the kind that was asked for.
fn found(name: &str, kind: QTYPE, rule: &Rule, names: &Names) -> Result<Option<Ipv4Addr>, RCODE> {
    let Rule::Egress(list) = rule else {
        return Err(RCODE::NameError);
    };
    if !list.has_name(name) {
        return Err(RCODE::NameError);
    }
    if kind != QTYPE::TYPE(TYPE::A) {
        return Ok(None);
    }
    let address = names.address_of(&name.to_ascii_lowercase());
    address.map(Some).ok_or(RCODE::ServerFailure)
}

#[cfg(test)]
mod tests {
    //! Queries as a resolver sends them.

    use simple_dns::{Name, QCLASS, Question};
    use squall_runtime::network::EgressList;

    use super::*;

    fn rule() -> Rule {
        Rule::Egress(EgressList::parse("a.example,*.b.example:8443").expect("a list"))
    }

    fn query(name: &str, kind: TYPE) -> Vec<u8> {
        let mut query = Packet::new_query(7);
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        let name = Name::new_unchecked(name);
        let question = Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        query.questions.push(question);
        query.build_bytes_vec().expect("a query")
    }

    fn check(names: &Names, name: &str, kind: TYPE, code: RCODE, expected: Option<[u8; 4]>) {
        let answer = answer(&query(name, kind), &rule(), names).expect("an answer");
        let answer = Packet::parse(&answer).expect("a packet");
        assert!(
            answer.id() == 7 && answer.has_flags(PacketFlag::RESPONSE),
            "{answer:?}"
        );
        assert_eq!(answer.rcode(), code, "{name}");
        assert_eq!(answer.questions.len(), 1);
        let found = answer.answers.first().map(|record| match &record.rdata {
            RData::A(a) => a.address.to_be_bytes(),
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected, "{name}");
    }

    #[test]
    fn a_listed_name_has_an_address_that_stands_for_it() {
        let names = Names::default();
        check(
            &names,
            "a.example",
            TYPE::A,
            RCODE::NoError,
            Some([198, 18, 0, 1]),
        );
        check(
            &names,
            "c.b.example",
            TYPE::A,
            RCODE::NoError,
            Some([198, 18, 0, 2]),
        );
        check(
            &names,
            "A.Example",
            TYPE::A,
            RCODE::NoError,
            Some([198, 18, 0, 1]),
        );
        assert_eq!(
            names.name_of([198, 18, 0, 2].into()).as_deref(),
            Some("c.b.example")
        );
    }

    #[test]
    fn a_listed_name_has_nothing_else() {
        for kind in [TYPE::AAAA, TYPE::MX, TYPE::TXT, TYPE::HTTPS] {
            check(&Names::default(), "a.example", kind, RCODE::NoError, None);
        }
    }

    #[test]
    fn any_other_name_does_not_exist() {
        for name in ["b.example", "secret.evil.example", "localhost", "example"] {
            check(&Names::default(), name, TYPE::A, RCODE::NameError, None);
        }
    }

    #[test]
    fn what_is_no_query_has_no_answer() {
        let names = Names::default();
        assert_eq!(answer(b"", &rule(), &names), None);
        assert_eq!(answer(&[0xff; 12], &rule(), &names), None);
        let mut reply = query("a.example", TYPE::A);
        reply[2] |= 0x80;
        assert_eq!(answer(&reply, &rule(), &names), None);
        let empty = Packet::new_query(7).build_bytes_vec().expect("a query");
        assert_eq!(answer(&empty, &rule(), &names), None);
        let mut many = query("a.example", TYPE::A);
        many[4..6].copy_from_slice(&[0xff; 2]);
        assert_eq!(answer(&many, &rule(), &names), None);
    }
}
