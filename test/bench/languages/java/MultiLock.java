import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.redisson.Redisson;
import org.redisson.RedissonMultiLock;
import org.redisson.api.RLock;
import org.redisson.api.RedissonClient;
import org.redisson.config.Config;

/** Measures Redisson's MultiLock, on the servers whose addresses are the arguments. */
public final class MultiLock {
  private static final List<RedissonClient> clients = new ArrayList<>();
  private static final AtomicLong count = new AtomicLong();
  private static final ExecutorService threads = Executors.newCachedThreadPool();
  private static final OperatingSystemMXBean system =
      (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

  /** Answers each line "inFlight millis" with "operations millis cpuMicros", until the input ends. */
  public static void main(String[] addresses) throws Exception {
    for (String address : addresses) {
      Config config = new Config();
      config.useSingleServer().setAddress("redis://" + address);
      clients.add(Redisson.create(config));
    }
    System.out.println("Java " + System.getProperty("java.version")
        + ", Redisson " + Redisson.class.getPackage().getImplementationVersion());
    Scanner input = new Scanner(System.in);
    while (input.hasNextInt()) round(input.nextInt(), input.nextLong());
    System.exit(0);
  }

  private static void round(int inFlight, long millis) throws Exception {
    long cpu = system.getProcessCpuTime();
    long start = System.nanoTime();
    long end = start + TimeUnit.MILLISECONDS.toNanos(millis);
    Callable<Long> loop = () -> {
      long operations = 0;
      for (; System.nanoTime() < end; operations++) {
        lockAndUnlock("bench:" + ProcessHandle.current().pid() + ":" + count.incrementAndGet());
      }
      return operations;
    };
    List<Future<Long>> loops = new ArrayList<>();
    for (int index = 0; index < inFlight; index++) loops.add(threads.submit(loop));
    long operations = 0;
    for (Future<Long> each : loops) operations += each.get();
    long elapsed = System.nanoTime() - start;
    // Time for answers that nobody waited for.
    Thread.sleep(5);
    System.out.println(operations + " " + elapsed / 1e6 + " " + (system.getProcessCpuTime() - cpu) / 1000);
  }

  private static void lockAndUnlock(String name) {
    RLock[] locks = clients.stream().map(client -> client.getLock(name)).toArray(RLock[]::new);
    RLock lock = locks.length == 1 ? locks[0] : new RedissonMultiLock(locks);
    lock.lock(8, TimeUnit.SECONDS);
    lock.unlock();
  }
}
