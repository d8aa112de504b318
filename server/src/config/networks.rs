//! Networks of addresses, such as `10.0.0.0/8`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use toml::Value;

use super::setting::Setting;

/// An address with the length of the part that all addresses of the network share, in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Never an IPv4 address written as an IPv6 one. The bits after `length` are 0.
    base: IpAddr,
    length: u32,
}

impl Network {
    /// Whether the network has `address`. An IPv4 address written as an IPv6 one (`::ffff:10.0.0.1`) is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address.to_canonical(), self.length) == Some(self.base)
    }
}

/// `address` with its first `length` bits; `None` where it has not so many.
fn masked(address: IpAddr, length: u32) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(length)?).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(length)?).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    })
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no = || format!("{text:?} is no address and no network");
        let (address, length) = text.split_once('/').map_or((text, None), |(at, length)| (at, Some(length)));
        let address: IpAddr = address.parse().map_err(|_| no())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        // A sign or a leading zero is no number of bits.
        let plain = |text: &str| {
            text.bytes().all(|c| c.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'))
        };
        let length = match length {
            None => all,
            Some(length) => length.parse().ok().filter(|_| plain(length)).ok_or_else(no)?,
        };
        let base = masked(address, length).ok_or_else(no)?;
        if length == 0 {
            return Err(format!("{text:?} is everybody"));
        }
        if base != address {
            return Err(format!("{text:?} has bits behind the network, which is {base}/{length}"));
        }
        match base.to_canonical() {
            canonical if canonical == base => Ok(Self { base, length }),
            // `::ffff:10.0.0.0/104`: the first 96 bits only say that it is IPv4.
            canonical => {
                let length = length.checked_sub(96).filter(|&length| length > 0);
                Ok(Self { base: canonical, length: length.ok_or_else(|| format!("{text:?} is everybody"))? })
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

/// Several networks; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<Network>);

impl Networks {
    /// Whether one of them has `address`.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Setting for Networks {
    fn allowed(&self) -> String {
        "an array of addresses and networks such as [\"10.0.0.0/8\", \"127.0.0.1\", \"fd00::/8\"]; as a variable, separated \
         by commas"
            .into()
    }
    fn assign(&mut self, value: &Value) -> Result<(), String> {
        let mut texts = Vec::<String>::new();
        texts.assign(value)?;
        self.0 = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(())
    }
    fn assign_text(&mut self, text: &str) -> Result<(), String> {
        let texts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        self.0 = texts.map(str::parse).collect::<Result<_, _>>()?;
        Ok(())
    }
    fn show(&self) -> Option<Value> {
        Some(Value::Array(self.0.iter().map(|network| network.to_string().into()).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_and_have_their_addresses() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"),
            ("192.0.2.128/25", "192.0.2.255", "192.0.2.127"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "::2"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "::a00:1"),
            ("128.0.0.0/1", "255.0.0.0", "ffff::1"),
        ] {
            let read: Network = network.parse().unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!read.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(read.to_string().parse::<Network>().unwrap(), read, "{network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "::/0",
            "::ffff:0.0.0.0/96",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
            "10.0.0",
            "[::1]",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
        let why = "10.0.0.1/8".parse::<Network>().unwrap_err();
        assert_eq!(why, "\"10.0.0.1/8\" has bits behind the network, which is 10.0.0.0/8");
    }
}
