//! What is read of an X.509 certificate beyond what its verification needs: names, and until when it is valid. Trusts none
//! of it.

/// What a certificate says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The first common name of its subject.
    pub common_name: Option<String>,
    /// Names of its subject in the order in which they stand: DNS names, email addresses and URIs.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// It names itself as who signed it.
    pub is_self_issued: bool,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const OCTETS: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 29, 17];

impl Certificate {
    /// Read DER; none when it is no certificate.
    pub fn read(der: &[u8]) -> Option<Self> {
        let mut whole = Reader(der);
        let mut certificate = Reader(whole.take(SEQUENCE)?);
        let mut signed = Reader(certificate.take(SEQUENCE)?);
        if signed.peek() == Some(VERSION) {
            signed.next()?;
        }
        signed.next()?; // its number
        signed.take(SEQUENCE)?; // how it is signed
        let issuer = signed.take(SEQUENCE)?;
        let mut validity = Reader(signed.take(SEQUENCE)?);
        let not_before = time(validity.next()?)?;
        let not_after = time(validity.next()?)?;
        let subject = signed.take(SEQUENCE)?;
        let mut read = Self {
            common_name: common_name(subject),
            names: Vec::new(),
            not_before,
            not_after,
            is_self_issued: issuer == subject,
        };
        while let Some((tag, value)) = signed.next() {
            if tag == EXTENSIONS {
                read.names = alternative_names(Reader(value).take(SEQUENCE)?);
            }
        }
        Some(read)
    }
}

/// A walk through values that each have a tag and a length.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 {
                return None; // no certificate has as much, and DER has no open end
            }
            let (digits, behind) = rest.split_at_checked(count)?;
            length = digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit));
            rest = behind;
        }
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }
}

fn common_name(subject: &[u8]) -> Option<String> {
    let mut sets = Reader(subject);
    while let Some(set) = sets.take(SET) {
        let mut attributes = Reader(set);
        while let Some(attribute) = attributes.take(SEQUENCE) {
            let mut attribute = Reader(attribute);
            if attribute.take(OBJECT) == Some(COMMON_NAME) {
                return attribute.next().and_then(|(_, value)| text(value));
            }
        }
    }
    None
}

fn alternative_names(extensions: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut extensions = Reader(extensions);
    while let Some(extension) = extensions.take(SEQUENCE) {
        let mut extension = Reader(extension);
        if extension.take(OBJECT) != Some(SUBJECT_ALT_NAME) {
            continue;
        }
        if extension.peek() == Some(BOOLEAN) {
            extension.next();
        }
        let Some(mut general) = extension.take(OCTETS).and_then(|value| Reader(value).take(SEQUENCE)).map(Reader)
        else {
            continue;
        };
        while let Some((tag, value)) = general.next() {
            if matches!(tag, 0x81 | 0x82 | 0x86) {
                names.extend(text(value)); // rfc822Name, dNSName, uniformResourceIdentifier
            }
        }
    }
    names
}

/// A name, unless it has what no name has: two programs might read it differently.
fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

fn time((tag, value): (u8, &[u8])) -> Option<i64> {
    let digits = value.strip_suffix(b"Z")?;
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<i64>().ok();
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (number(year)?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let mut parts = rest.chunks(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days from 1970 to a date of the Gregorian calendar. The year begins in March, so that a leap day is its last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn made() -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
        params.distinguished_name.push(DnType::OrganizationName, "cn");
        params.distinguished_name.push(DnType::CommonName, "app");
        params.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.subject_alt_names.push(SanType::URI("spiffe://x/app".try_into().unwrap()));
        params.not_before = rcgen::date_time_ymd(2001, 3, 1);
        params.not_after = rcgen::date_time_ymd(2096, 2, 29);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn what_a_certificate_says_is_read() {
        let read = Certificate::read(&made()).unwrap();
        assert_eq!(read.common_name.as_deref(), Some("app"));
        assert_eq!(read.names, ["a.example", "a@b.example", "spiffe://x/app"]);
        assert_eq!((read.not_before, read.not_after), (983_404_800, 3_981_312_000));
        assert!(read.is_self_issued);
    }

    #[test]
    fn a_broken_one_is_none_or_says_less() {
        let whole = made();
        for cut in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..cut]), None, "{cut}");
        }
        for place in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut broken = whole.clone();
                broken[place] = value;
                let _ = Certificate::read(&broken); // anything but a panic
            }
        }
    }

    #[test]
    fn names_that_two_programs_might_read_differently_are_none() {
        assert_eq!(text(b"app\0.evil"), None);
        assert_eq!(text(b""), None);
        assert_eq!(text("größe".as_bytes()).as_deref(), Some("größe"));
    }

    #[test]
    fn times_are_seconds_since_1970() {
        assert_eq!(time((UTC_TIME, b"700101000000Z")), Some(0));
        assert_eq!(time((UTC_TIME, b"491231235959Z")), Some(2_524_607_999));
        assert_eq!(time((GENERALIZED_TIME, b"99991231235959Z")), Some(253_402_300_799));
        assert_eq!(time((UTC_TIME, b"7001010000Z")), None);
        assert_eq!(time((UTC_TIME, b"70010100000xZ")), None);
    }
}
