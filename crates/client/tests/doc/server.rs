// A server for the length of a documentation example, on a free port, with an empty directory.

struct ExampleServer {
    address: String,
    _data: tempfile::TempDir,
}

impl ExampleServer {
    async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let data = tempfile::tempdir()?;
        let config = trilith_node::NodeConfig::new(data.path());
        let (node, _) = trilith_node::Node::open(&trilith_env::os::env(), config)?;
        let listen = ([127, 0, 0, 1], 0).into();
        let config = trilith_server::ServerConfig { listen, ..Default::default() };
        let bound = trilith_server::Server::bind(config, node).await?;
        let address = bound.local_addr().to_string();
        tokio::spawn(bound.run(std::future::pending()));
        Ok(Self { address, _data: data })
    }
}
