// Asks spymemcached where keys belong: java -cp spymemcached-2.12.3.jar Spy.java < cases
//   in:  one line of nodes, "<host name or ->|<ip>|<port>|<weight>" apart by spaces; then one key a line
//   out: the index of each key's node, a line each

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.KetamaNodeKeyFormatter;
import net.spy.memcached.KetamaNodeLocator;
import net.spy.memcached.MemcachedNode;

public class Spy {
    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        List<MemcachedNode> nodes = new ArrayList<>();
        Map<InetSocketAddress, Integer> weights = new HashMap<>();
        for (String text : in.readLine().split(" ")) {
            String[] parts = text.split("\\|");
            byte[] ip = InetAddress.getByName(parts[1]).getAddress();
            InetAddress host = parts[0].equals("-") ? InetAddress.getByAddress(ip) : InetAddress.getByAddress(parts[0], ip);
            InetSocketAddress address = new InetSocketAddress(host, Integer.parseInt(parts[2]));
            weights.put(address, Integer.parseInt(parts[3]));
            nodes.add((MemcachedNode) Proxy.newProxyInstance(
                Spy.class.getClassLoader(),
                new Class<?>[] {MemcachedNode.class},
                (proxy, method, values) -> switch (method.getName()) {
                    case "getSocketAddress" -> address;
                    case "hashCode" -> address.hashCode();
                    case "equals" -> proxy == values[0];
                    default -> address.toString();
                }));
        }
        boolean isEven = weights.values().stream().distinct().count() == 1;
        KetamaNodeLocator locator = new KetamaNodeLocator(
            nodes,
            DefaultHashAlgorithm.KETAMA_HASH,
            KetamaNodeKeyFormatter.Format.SPYMEMCACHED,
            isEven ? new HashMap<>() : weights);
        for (String key = in.readLine(); key != null; key = in.readLine()) {
            System.out.println(nodes.indexOf(locator.getPrimary(key)));
        }
    }
}
