//! The servers of a [`Lan`], each started in the foreground with a configuration of the scenario's, and answering once it is returned from.

use anyhow::Result;

use super::Lan;

impl Lan {
    /// dnsmasq(8): DHCP, DNS or both, by the lines of its configuration; each question and each lease is in its log.
    pub fn dnsmasq(&mut self, lines: &str) -> Result<()> {
        let all = format!(
            "no-resolv\nno-hosts\nno-daemon\nuser=root\nlog-facility=-\nlog-dhcp\nlog-queries\npid-file=\n\
             dhcp-leasefile=/run/dnsmasq.leases\ndhcp-authoritative\n{lines}\n"
        );
        let file = self.file("dnsmasq.conf", &all)?;
        self.serve(
            "dnsmasq",
            &format!("dnsmasq --conf-file={file}"),
            "started, version",
        )
    }

    /// Kea's server of DHCPv4 on these cables, which must have a machine at their other ends already, by the JSON of `subnet4` and what follows it.
    pub fn kea(&mut self, segments: &[&str], subnets: &str) -> Result<()> {
        let segments = segments.join("\",\"");
        let all = format!(
            r#"{{"Dhcp4":{{"interfaces-config":{{"interfaces":["{segments}"]}},"lease-database":{{"type":"memfile","persist":false}},
"loggers":[{{"name":"kea-dhcp4","severity":"DEBUG","debuglevel":40,"output_options":[{{"output":"stdout"}}]}}],{subnets}}}}}"#
        );
        let file = self.file("kea.json", &all)?;
        let command = format!("env KEA_PIDFILE_DIR=/run KEA_LOCKFILE_DIR=none kea-dhcp4 -c {file}");
        self.serve("kea", &command, "DHCP4_STARTED")
    }

    /// ISC's dhcpd(8) on one cable, by the lines of its configuration.
    pub fn isc(&mut self, segment: &str, lines: &str) -> Result<()> {
        let file = self.file("dhcpd.conf", lines)?;
        self.run(": >/var/lib/dhcp/dhcpd.leases")?;
        let command = format!("dhcpd -4 -f -d -cf {file} --no-pid {segment}");
        self.serve("isc", &command, "Server starting service")
    }

    /// radvd(8), by the lines of its configuration.
    pub fn radvd(&mut self, lines: &str) -> Result<()> {
        let file = self.file("radvd.conf", lines)?;
        self.run("sysctl -qw net.ipv6.conf.all.forwarding=1")?;
        let command = format!("radvd -n -m stderr -d 1 -p /run/radvd.pid -C {file}");
        self.serve("radvd", &command, "version .* started")
    }

    /// unbound(8): answers for its own names alone, which are the lines of its `server:` clause.
    pub fn unbound(&mut self, lines: &str) -> Result<()> {
        let all = format!(
            "server:\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"/run\"\n pidfile: \"\"\n use-syslog: no\n logfile: \"\"\n \
             log-queries: yes\n access-control: 0.0.0.0/0 allow\n access-control: ::0/0 allow\n module-config: \"iterator\"\n{lines}\n\
             remote-control:\n control-enable: no\n"
        );
        let file = self.file("unbound.conf", &all)?;
        self.serve(
            "unbound",
            &format!("unbound -d -c {file}"),
            "start of service",
        )
    }

    /// An authority of this network's own: a certificate for these names and addresses (`DNS:www.example.org,IP:192.0.2.1`), which a client
    /// that trusts `/lan/ca.pem` takes.
    pub fn certificate(&mut self, names: &str) -> Result<()> {
        let config = format!(
            "[req]\ndistinguished_name=dn\nprompt=no\n[dn]\nCN=bay0 tests\n[ca]\nbasicConstraints=critical,CA:TRUE\nsubjectKeyIdentifier=hash\n\
             keyUsage=critical,keyCertSign\n[leaf]\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\nsubjectAltName={names}\n"
        );
        self.file("tls.conf", &config)?;
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        self.run(&format!(
            "set -e; cd /lan; openssl req -config tls.conf -x509 {key} -extensions ca -keyout ca.key -out ca.pem -days 36500\n\
             openssl req -config tls.conf {key} -keyout tls.key -out tls.csr\n\
             openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile tls.conf -extensions leaf -out tls.pem -days 36500"
        ))
        .map(drop)
    }

    /// nginx(8): `/lan/www` on ports 80 and 443 of both families, the latter with [`Lan::certificate`]'s; `/` answers [`Lan::PAGE`], `/ca.pem` the authority.
    pub fn nginx(&mut self) -> Result<()> {
        self.file("www/index.html", Lan::PAGE)?;
        let file = self.file(
            "nginx.conf",
            "daemon off;\nuser root;\npid /run/nginx.pid;\nerror_log stderr notice;\nevents {}\nhttp {\n access_log /dev/stdout;\n server {\n  \
             listen 80;\n  listen [::]:80;\n  listen 443 ssl;\n  listen [::]:443 ssl;\n  ssl_certificate /lan/tls.pem;\n  \
             ssl_certificate_key /lan/tls.key;\n  root /lan/www;\n }\n}\n",
        )?;
        self.run("cp /lan/ca.pem /lan/www/")?;
        self.serve(
            "nginx",
            &format!("nginx -c {file}"),
            "start worker process ",
        )
    }

    /// The page that nginx serves.
    pub const PAGE: &'static str = "a page of the network\n";

    /// `/lan/www/repo.git`, with one commit of one file, for git over HTTP without a program at the server.
    pub fn git(&mut self) -> Result<()> {
        self.run(
            "set -e; export HOME=/tmp GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org\n\
             rm -rf /tmp/work; git init -q /tmp/work; cd /tmp/work; echo cloned >file; git add file; git commit -qm one\n\
             mkdir -p /lan/www; git clone -q --bare /tmp/work /lan/www/repo.git; cd /lan/www/repo.git; git update-server-info",
        )
        .map(drop)
    }

    /// `/lan/www/apt`, an archive of one package, `lanpackage`, whose file `/usr/share/lanpackage` says `installed`.
    pub fn apt(&mut self) -> Result<()> {
        self.run(
            "set -e; rm -rf /tmp/pkg; mkdir -p /tmp/pkg/DEBIAN /tmp/pkg/usr/share /lan/www/apt; cd /tmp\n\
             printf 'Package: lanpackage\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: a test\\n' >pkg/DEBIAN/control\n\
             echo installed >pkg/usr/share/lanpackage; dpkg-deb -b --root-owner-group pkg /lan/www/apt/lanpackage_1_all.deb\n\
             cd /lan/www/apt; apt-ftparchive packages . >Packages; apt-ftparchive release . >/tmp/Release; mv /tmp/Release Release",
        )
        .map(drop)
    }

    /// A program in Python of the scenario's own, which prints `ready` once it serves.
    pub fn python(&mut self, name: &str, program: &str) -> Result<()> {
        let file = self.file(&format!("{name}.py"), program)?;
        self.serve(name, &format!("python3 -u {file}"), "^ready$")
    }
}
